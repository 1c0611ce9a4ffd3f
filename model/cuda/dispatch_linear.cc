// Products of model/ops.h: which kernel, or which of cublasLt's, multiplies.
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>

#include "model/cuda/dispatch.h"
#include "model/cuda/fp8.h"
#include "model/cuda/kernels.h"
#include "model/cuda/products.h"
#include "model/cuda/tensors.h"

namespace llavamini::ops::cuda {
namespace {

// Up to here a product with its norm, or its gate, is one kernel.
constexpr int64_t kMostFusedRows = 8;

struct Norm {
  at::Tensor weight = {};  // undefined: none
  double eps = 0;
};

const float* ScalesOf(const Weights& w) {
  return w.scale.defined() ? w.scale.data_ptr<float>() : nullptr;
}

kernels::StreamedProduct Streamed(const at::Tensor& x, const Weights& w, const at::Tensor& residual,
                                  const at::Tensor& y, bool gated = false) {
  return {x.data_ptr(),
          x.stride(0),
          w.weight.data_ptr(),
          ScalesOf(w),
          residual.defined() ? residual.data_ptr() : nullptr,
          y.defined() ? y.data_ptr() : nullptr,
          static_cast<int>(w.weight.size(0)),
          static_cast<int>(w.weight.size(1)),
          gated};
}

// Whether the kernel that streams weights may take rows of x: a few, and not where results must not
// depend on their number.
bool MayStream(const at::Tensor& x) {
  return x.size(0) <= kernels::kMostStreamedRows && !kernels::Products::OfDevice().deterministic();
}

// norm(x) Wᵀ + residual of few rows [N, in] by the kernel that streams weights, or undefined.
at::Tensor StreamProduct(const at::Tensor& x, const Norm& norm, const Weights& w,
                         const at::Tensor& residual, bool gated) {
  if (!MayStream(x) || w.bias.defined()) return {};
  const int64_t rows = x.size(0), n = w.weight.size(0);
  kernels::ProductChain chain{
      {Streamed(x, w, residual, /*y=*/{}, gated)}, 1, static_cast<int>(rows), /*eps=*/0};
  if (!kernels::CanStreamWeights(ElementOf(x), chain)) return {};
  const at::Tensor in = norm.weight.defined() ? cuda::RmsNorm(x, norm.weight, norm.eps) : x;
  at::Tensor y = at::empty({rows, gated ? n / 2 : n}, x.options());
  chain.products[0] = Streamed(in, w, residual, y, gated);
  kernels::StreamWeights(ElementOf(x), chain, Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

// Our own kernels for few rows [N, in], or undefined.
at::Tensor FewRows(const at::Tensor& x, const Norm& norm, const Weights& w,
                   const at::Tensor& residual, bool gated, int64_t most_rows = kMostFusedRows) {
  at::Tensor streamed = StreamProduct(x, norm, w, residual, gated);
  if (streamed.defined()) return streamed;
  const int64_t rows = x.size(0), n = w.weight.size(0);
  if (rows > most_rows || w.bias.defined() || kernels::Products::OfDevice().deterministic()) {
    return {};
  }
  kernels::FewRows few{x.data_ptr(),
                       x.stride(0),
                       norm.weight.defined() ? norm.weight.data_ptr() : nullptr,
                       static_cast<float>(norm.eps),
                       w.weight.data_ptr(),
                       residual.defined() ? residual.data_ptr() : nullptr,
                       nullptr,
                       static_cast<int>(rows),
                       static_cast<int>(n),
                       static_cast<int>(w.weight.size(1)),
                       gated,
                       ScalesOf(w)};
  if (!kernels::CanMultiplyFewRows(ElementOf(x), few)) return {};
  at::Tensor y = at::empty({rows, gated ? n / 2 : n}, x.options());
  few.y = y.data_ptr();
  kernels::MultiplyFewRows(ElementOf(x), few, Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

kernels::Product ProductOf(const at::Tensor& x, const Weights& w, const at::Tensor& residual,
                           const at::Tensor& y) {
  return {ElementOf(x),
          x.data_ptr(),
          x.stride(0),
          w.weight.data_ptr(),
          w.bias.defined() ? w.bias.data_ptr() : nullptr,
          residual.defined() ? residual.data_ptr() : nullptr,
          y.data_ptr(),
          x.size(0),
          w.weight.size(0),
          w.weight.size(1)};
}

// A new shape that is added to y in place is timed on a copy: each run adds once more.
void ChooseOnCopy(kernels::Product product, const at::Tensor& y) {
  kernels::Products& products = kernels::Products::OfDevice();
  if (products.Knows(product)) return;
  const at::Tensor copy = y.clone();
  product.residual = copy.data_ptr();
  product.y = copy.data_ptr();
  products.TryRun(product, Stream());
}

// Rows [N, in] and weights of one dtype.
at::Tensor SameDtypeProduct(const at::Tensor& x, const Weights& w, const at::Tensor& residual) {
  at::Tensor streamed = StreamProduct(x, {}, w, residual, /*gated=*/false);
  if (streamed.defined()) return streamed;
  at::Tensor y = at::empty({x.size(0), w.weight.size(0)}, x.options());
  if (y.numel() > 0) kernels::Products::OfDevice().Run(ProductOf(x, w, residual, y), Stream());
  return y;
}

// activation(x Wᵀ + bias) of rows [N, in] and weights of one dtype.
at::Tensor ActivatedProduct(const at::Tensor& x, const Weights& w, kernels::Activation activation) {
  const int64_t rows = x.size(0), n = w.weight.size(0);
  const bool gated = activation == kernels::Activation::kSiluGate;
  at::Tensor y = at::empty({rows, gated ? n / 2 : n}, x.options()), gate_up;
  if (y.numel() == 0) return y;
  kernels::Product product = ProductOf(x, w, {}, y);
  product.activation = activation;
  kernels::Products& products = kernels::Products::OfDevice();
  if (gated && !products.Unites(product)) {
    gate_up = at::empty({rows, n}, x.options());
    product.gate_up = gate_up.data_ptr();
  }
  products.Run(product, Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

// Both in e4m3, by cublasLt, to y, which may be the residual; false where it cannot.
bool E4m3Product(const at::Tensor& x, const Norm& norm, const Weights& w,
                 const at::Tensor& residual, const at::Tensor& y) {
  const at::Tensor values = at::empty(x.sizes(), x.options().dtype(at::kByte)),
                   scales = at::empty({x.size(0)}, x.options().dtype(at::kFloat));
  kernels::Product product = ProductOf(x, w, residual, y);
  product.scales = ScalesOf(w);
  product.norm_weight = norm.weight.defined() ? norm.weight.data_ptr() : nullptr;
  product.eps = static_cast<float>(norm.eps);
  product.x_values = values.data_ptr<uint8_t>();
  product.x_scales = scales.data_ptr<float>();
  if (y.is_same(residual)) ChooseOnCopy(product, y);
  if (!kernels::Products::OfDevice().TryRun(product, Stream())) return false;
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return true;
}

// norm(x) Wᵀ + bias + residual of an e4m3 W, x [N, in]. Few rows stay as they are; more are made
// e4m3 for cublasLt. Where it cannot (before and after sm_90, odd shapes), our kernel takes as many
// rows as it can, and for more W is widened first.
at::Tensor MultiplyE4m3(const at::Tensor& x, const Norm& norm, const Weights& w,
                        const at::Tensor& residual) {
  if (x.size(0) == 0) return at::empty({0, w.weight.size(0)}, x.options());
  at::Tensor y = FewRows(x, norm, w, residual, /*gated=*/false);
  if (y.defined()) return y;
  y = at::empty({x.size(0), w.weight.size(0)}, x.options());
  if (E4m3Product(x, norm, w, residual, y)) return y;
  const at::Tensor in = norm.weight.defined() ? cuda::RmsNorm(x, norm.weight, norm.eps) : x;
  y = FewRows(in, {}, w, residual, /*gated=*/false, kernels::kMostFewRows);
  if (y.defined()) return y;
  return SameDtypeProduct(in, {plain::Widened(w, x.scalar_type()), w.bias}, residual);
}

}  // namespace

Weights Quantized(Weights w) {
  at::Tensor rows = w.weight.contiguous();
  const at::Tensor values = at::empty(rows.sizes(), rows.options().dtype(at::kFloat8_e4m3fn)),
                   scale = at::empty({rows.size(0)}, rows.options().dtype(at::kFloat));
  const kernels::QuantizedRows problem{
      rows.data_ptr(),         rows.stride(0), static_cast<uint8_t*>(values.data_ptr()),
      scale.data_ptr<float>(), rows.size(0),   static_cast<int>(rows.size(1))};
  if (!kernels::CanQuantizeRows(problem)) return plain::Quantized(w);
  kernels::QuantizeRows(ElementOf(rows), problem, Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  // Kernels read weights before what is ahead of them in the stream is done.
  C10_CUDA_CHECK(cudaStreamSynchronize(Stream()));
  rows.reset();
  w.weight.reset();
  c10::cuda::CUDACachingAllocator::emptyCache();
  return {values, w.bias, scale};
}

at::Tensor Linear(const at::Tensor& x, const Weights& w, const at::Tensor& residual) {
  const at::Tensor rows = AsRows(x);
  const at::Tensor added = residual.defined() ? residual.contiguous() : residual;
  const at::Tensor y =
      w.scale.defined() ? MultiplyE4m3(rows, {}, w, added) : SameDtypeProduct(rows, w, added);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = w.weight.size(0);
  return y.view(shape);
}

void AddLinear(const at::Tensor& x, const Weights& w, at::Tensor& y) {
  TORCH_CHECK(y.is_contiguous(), "a product is added to contiguous rows");
  const at::Tensor rows = AsRows(x), sum = y.view({-1, y.size(-1)});
  if (sum.size(0) == 0) return;
  if (!w.scale.defined()) {
    const kernels::Product product = ProductOf(rows, w, sum, sum);
    ChooseOnCopy(product, sum);
    kernels::Products::OfDevice().Run(product, Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return;
  }
  const bool many = rows.size(0) > kernels::kMostStreamedE4m3Rows;
  if (many && E4m3Product(rows, {}, w, sum, sum)) return;
  sum.copy_(MultiplyE4m3(rows, {}, w, sum));
}

at::Tensor NormLinear(const at::Tensor& x, const at::Tensor& norm_weight, double eps,
                      const Weights& w) {
  if (w.scale.defined()) return MultiplyE4m3(AsRows(x), {norm_weight, eps}, w, {});
  at::Tensor y = FewRows(x, {norm_weight, eps}, w, {}, /*gated=*/false);
  return y.defined() ? y : cuda::Linear(RmsNorm(x, norm_weight, eps), w, {});
}

at::Tensor NormGatedLinear(const at::Tensor& x, const at::Tensor& norm_weight, double eps,
                           const Weights& gate_up) {
  at::Tensor y = FewRows(x, {norm_weight, eps}, gate_up, {}, /*gated=*/true);
  if (y.defined()) return y;
  if (gate_up.scale.defined() || gate_up.bias.defined()) {
    return SiluMultiply(cuda::NormLinear(x, norm_weight, eps, gate_up));
  }
  return ActivatedProduct(AsRows(RmsNorm(x, norm_weight, eps)), gate_up,
                          kernels::Activation::kSiluGate);
}

at::Tensor ActivatedLinear(const at::Tensor& x, const Weights& w, HiddenAct activation) {
  const auto kernel =
      activation == HiddenAct::kGelu ? kernels::Activation::kGelu : kernels::Activation::kQuickGelu;
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = w.weight.size(0);
  return ActivatedProduct(AsRows(x), w, kernel).view(shape);
}

std::pair<at::Tensor, at::Tensor> StreamBlock(const at::Tensor& x, const at::Tensor& attended,
                                              const BlockEnd& end, const BlockStart* next) {
  const int64_t rows = x.size(0);
  const bool biased =
      end.out.bias.defined() || end.gate_up.bias.defined() || end.down.bias.defined();
  if (!MayStream(x) || biased || !x.is_contiguous()) return {};
  // The next product goes along when its weights are stored as the others are.
  const bool chained = next != nullptr && next->eps == end.eps && !next->product.bias.defined() &&
                       next->product.scale.defined() == end.out.scale.defined();
  const auto made = [&](int64_t width) { return at::empty({rows, width}, x.options()); };
  const int64_t width = x.size(1), inner = end.down.weight.size(1);
  const at::Tensor between = made(width), between_weighted = made(width), gated = made(inner),
                   y = made(width), y_weighted = made(width);
  at::Tensor projected;
  kernels::ProductChain chain{{Streamed(AsRows(attended), end.out, x, between),
                               Streamed(between_weighted, end.gate_up, {}, gated, /*gated=*/true),
                               Streamed(gated, end.down, between, y)},
                              3,
                              static_cast<int>(rows),
                              static_cast<float>(end.eps)};
  chain.products[0].next_norm = end.norm.data_ptr();
  chain.products[0].weighted = between_weighted.data_ptr();
  chain.products[1].normed = true;
  if (chained) {
    projected = made(next->product.weight.size(0));
    chain.products[2].next_norm = next->norm.data_ptr();
    chain.products[2].weighted = y_weighted.data_ptr();
    chain.products[3] = Streamed(y_weighted, next->product, {}, projected);
    chain.products[3].normed = true;
    chain.count = 4;
  }
  if (!kernels::CanStreamWeights(ElementOf(x), chain)) return {};
  kernels::StreamWeights(ElementOf(x), chain, Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  if (next != nullptr && !chained) {
    projected = cuda::NormLinear(y, next->norm, next->eps, next->product);
  }
  return {y, projected};
}

}  // namespace llavamini::ops::cuda
