#include "model/cuda/dispatch.h"

#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

#include <cmath>

#include "model/cuda/kernels.h"
#include "model/ops.h"

namespace llavamini::ops::cuda {
namespace {

kernels::Element ElementOf(const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat) return kernels::Element::kFloat32;
  return x.scalar_type() == at::kHalf ? kernels::Element::kFloat16 : kernels::Element::kBfloat16;
}

// [N, H, d] whose rows may be strided, but whose heads lie one after another.
at::Tensor WithAdjacentHeads(const at::Tensor& x) {
  const bool adjacent = x.stride(2) == 1 && x.stride(1) == x.size(2);
  return adjacent ? x : x.contiguous();
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor rows = x.contiguous();
  at::Tensor out = at::empty_like(rows);
  const int64_t width = rows.size(-1);
  if (rows.numel() == 0) return out;
  kernels::RmsNorm(ElementOf(rows), rows.data_ptr(), weight.data_ptr(), out.data_ptr(),
                   rows.numel() / width, static_cast<int>(width), static_cast<float>(eps),
                   at::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

at::Tensor SiluMultiply(const at::Tensor& gate_up) {
  const at::Tensor rows = gate_up.contiguous();
  const int64_t width = rows.size(-1) / 2;
  at::Tensor out = at::empty({rows.size(0), width}, rows.options());
  if (out.numel() == 0) return out;
  kernels::SiluMultiply(ElementOf(rows), rows.data_ptr(), out.data_ptr(), rows.size(0),
                        static_cast<int>(width), at::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor rows = WithAdjacentHeads(x);
  at::Tensor out = at::empty(rows.sizes(), rows.options());
  if (out.numel() == 0) return out;
  kernels::Rotate(ElementOf(rows), rows.data_ptr(), rows.stride(0), cos.data_ptr<float>(),
                  sin.data_ptr<float>(), out.data_ptr(), rows.size(0),
                  static_cast<int>(rows.size(1)), static_cast<int>(rows.size(2)),
                  at::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

void AppendToPages(const at::Tensor& k, const at::Tensor& v, const at::Tensor& slots,
                   at::Tensor& k_cache, at::Tensor& v_cache) {
  const at::Tensor keys = WithAdjacentHeads(k), values = WithAdjacentHeads(v);
  if (keys.numel() == 0) return;
  kernels::AppendToPages(
      ElementOf(keys), keys.data_ptr(), keys.stride(0), values.data_ptr(), values.stride(0),
      slots.data_ptr<int64_t>(), k_cache.data_ptr(), v_cache.data_ptr(), keys.size(0),
      static_cast<int>(keys.size(1) * keys.size(2)), at::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor AttendPages(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                       const at::Tensor& page_table, const at::Tensor& lengths) {
  const int query_heads = static_cast<int>(q.size(1)),
            key_value_heads = static_cast<int>(k_cache.size(2));
  const int dim = static_cast<int>(q.size(2));
  if (!kernels::CanAttendPages(query_heads, key_value_heads, dim)) {
    return plain::AttendPages(q, k_cache, v_cache, page_table, lengths);
  }
  const at::Tensor rows = WithAdjacentHeads(q);
  at::Tensor out = at::empty({q.size(0), q.size(1) * q.size(2)}, q.options());
  if (out.numel() == 0) return out;
  kernels::AttendPages(
      ElementOf(rows),
      {rows.data_ptr(), rows.stride(0), k_cache.data_ptr(), v_cache.data_ptr(),
       page_table.data_ptr<int32_t>(), lengths.data_ptr<int32_t>(), out.data_ptr(),
       static_cast<int>(q.size(0)), query_heads, key_value_heads, dim,
       static_cast<int>(page_table.size(1)), 1.0f / std::sqrt(static_cast<float>(dim))},
      at::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

}  // namespace llavamini::ops::cuda
