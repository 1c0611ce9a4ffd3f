#include "model/ops.h"

#ifdef LLAVAMINI_WITH_CUDA
#include "model/cuda/dispatch.h"
#endif

namespace llavamini::ops {
namespace {

#ifdef LLAVAMINI_WITH_CUDA
bool HasKernel(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf ||
                         x.scalar_type() == at::kFloat);
}
#endif

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
#ifdef LLAVAMINI_WITH_CUDA
  if (HasKernel(x)) return cuda::RmsNorm(x, weight, eps);
#endif
  return plain::RmsNorm(x, weight, eps);
}

at::Tensor SiluMultiply(const at::Tensor& gate_up) {
#ifdef LLAVAMINI_WITH_CUDA
  if (HasKernel(gate_up)) return cuda::SiluMultiply(gate_up);
#endif
  return plain::SiluMultiply(gate_up);
}

at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
#ifdef LLAVAMINI_WITH_CUDA
  if (HasKernel(x)) return cuda::Rotate(x, cos, sin);
#endif
  return plain::Rotate(x, cos, sin);
}

void AppendToPages(const at::Tensor& k, const at::Tensor& v, const at::Tensor& slots,
                   at::Tensor& k_cache, at::Tensor& v_cache) {
#ifdef LLAVAMINI_WITH_CUDA
  if (HasKernel(k)) return cuda::AppendToPages(k, v, slots, k_cache, v_cache);
#endif
  plain::AppendToPages(k, v, slots, k_cache, v_cache);
}

at::Tensor AttendPages(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                       const at::Tensor& page_table, const at::Tensor& lengths) {
#ifdef LLAVAMINI_WITH_CUDA
  if (HasKernel(q)) return cuda::AttendPages(q, k_cache, v_cache, page_table, lengths);
#endif
  return plain::AttendPages(q, k_cache, v_cache, page_table, lengths);
}

}  // namespace llavamini::ops
