// Tensors as the kernels take them.
#pragma once

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

#include "model/cuda/kernels.h"
#include "model/ops.h"

namespace llavamini::ops::cuda {

inline kernels::Element ElementOf(at::ScalarType dtype) {
  if (dtype == at::kFloat) return kernels::Element::kFloat32;
  return dtype == at::kHalf ? kernels::Element::kFloat16 : kernels::Element::kBfloat16;
}
inline kernels::Element ElementOf(const at::Tensor& x) { return ElementOf(x.scalar_type()); }

inline cudaStream_t Stream() { return at::cuda::getCurrentCUDAStream(); }

// x as rows [N, width] whose elements are adjacent.
inline at::Tensor AsRows(const at::Tensor& x) {
  if (x.dim() == 2 && x.stride(1) == 1) return x;
  return x.contiguous().view({-1, x.size(-1)});
}

inline kernels::HeadRows HeadsOf(const at::Tensor& qkv, const HeadShape& heads,
                                 const RopeTable& rope) {
  TORCH_CHECK(qkv.is_contiguous(), "rows of heads are contiguous");
  return {qkv.data_ptr(),
          qkv.size(0),
          static_cast<int>(heads.query_heads),
          static_cast<int>(heads.key_value_heads),
          static_cast<int>(heads.dim),
          rope.cos.defined() ? rope.cos.data_ptr<float>() : nullptr,
          rope.sin.defined() ? rope.sin.data_ptr<float>() : nullptr};
}

}  // namespace llavamini::ops::cuda
