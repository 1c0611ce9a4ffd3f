#include "model/cpu/packed_linear.h"

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace llavamini::ops::cpu {
namespace {

// The layout is chosen for a number of rows; that for many serves few nearly as well.
constexpr int64_t kRowsOfLayout = 512;

// Below so many float32 rows, of a weight that lies in a cache, the fixed cost of a oneDNN call (8
// µs) is more than MKL loses (measured on Zen 5).
constexpr int64_t kFewRows = 4;
constexpr int64_t kMostCachedWeights = 1 << 20;

// Multiplications and additions that are not worth waking another thread for: some 10 µs of a core.
constexpr int64_t kOneThread = 2'000'000;

using LinearSchema = at::Tensor(const at::Tensor&, const at::Tensor&,
                                const std::optional<at::Tensor>&, std::string_view,
                                c10::List<std::optional<at::Scalar>>,
                                std::optional<std::string_view>);
using AddSchema = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                             const std::optional<at::Tensor>&, std::string_view);
using ReorderSchema = at::Tensor(const at::Tensor&, std::optional<at::SymInt>);

template <typename Schema>
const c10::TypedOperatorHandle<Schema>& Operator(const char* name, const char* overload) {
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).template typed<Schema>();
  return handle;
}

// Runs what follows on one thread.
class OneThread {
 public:
  explicit OneThread(bool wanted) : before_(at::get_num_threads()) {
    if (wanted && before_ > 1) at::set_num_threads(1);
    changed_ = wanted && before_ > 1;
  }
  ~OneThread() {
    if (changed_) at::set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  const int before_;
  bool changed_;
};

bool HasPackedProducts(at::ScalarType dtype) {
  if (!at::hasMKLDNN()) return false;
  if (dtype == at::kFloat) return true;
  static const bool has_bfloat16 = Operator<bool()>("mkldnn::_is_mkldnn_bf16_supported", "").call();
  return dtype == at::kBFloat16 && has_bfloat16;
}

bool KeepsPlain(const at::Tensor& weight) {
  return weight.scalar_type() == at::kFloat && weight.numel() <= kMostCachedWeights;
}

}  // namespace

Weights Packed(const Weights& w) {
  if (!w.weight.defined() || !w.weight.is_cpu() || !HasPackedProducts(w.weight.scalar_type())) {
    return w;
  }
  Weights out = w;
  out.packed = Operator<ReorderSchema>("mkldnn::_reorder_linear_weight", "")
                   .call(w.weight.contiguous(), kRowsOfLayout);
  if (!KeepsPlain(w.weight)) out.weight.reset();
  return out;
}

at::Tensor Unpacked(const at::Tensor& packed) { return packed.to_dense(); }

at::Tensor Linear(const at::Tensor& x, const Weights& w, const at::Tensor& residual) {
  const int64_t rows = x.numel() / x.size(-1);
  if (rows == 0) return x.new_empty({0, w.packed.size(0)});
  const OneThread scope(rows * w.packed.numel() < kOneThread);
  if (rows < kFewRows && w.weight.defined()) {
    at::Tensor y = at::linear(x, w.weight, w.bias);
    return residual.defined() ? y.add_(residual) : y;
  }
  const auto bias = w.bias.defined() ? std::optional(w.bias) : std::nullopt;
  if (!residual.defined()) {
    return Operator<LinearSchema>("mkldnn::_linear_pointwise", "")
        .call(x, w.packed, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
  }
  return Operator<AddSchema>("mkldnn::_linear_pointwise", "binary")
      .call(x, residual, w.packed, bias, "add");
}

}  // namespace llavamini::ops::cpu
