// The ATen side of the kernels: the operations of model/ops.h on CUDA tensors of float32, float16
// or bfloat16.
#pragma once

#include <ATen/ATen.h>

namespace llavamini::ops::cuda {

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor SiluMultiply(const at::Tensor& gate_up);
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
void AppendToPages(const at::Tensor& k, const at::Tensor& v, const at::Tensor& slots,
                   at::Tensor& k_cache, at::Tensor& v_cache);
at::Tensor AttendPages(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                       const at::Tensor& page_table, const at::Tensor& lengths);

}  // namespace llavamini::ops::cuda
