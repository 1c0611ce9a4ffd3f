#include "model/layers.h"

#include <utility>

namespace llavamini {

at::Tensor Linear::operator()(const at::Tensor& x) const { return ops::Linear(x, *this, {}); }

at::Tensor Linear::Add(const at::Tensor& x, const at::Tensor& residual) const {
  return ops::Linear(x, *this, residual);
}

void Linear::AddTo(at::Tensor& sum, const at::Tensor& x) const { ops::AddLinear(x, *this, sum); }

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  return ops::LayerNorm(x, weight, bias, eps);
}

at::Tensor RmsNorm::operator()(const at::Tensor& x) const { return ops::RmsNorm(x, weight, eps); }

void Quantize(Linear& linear) {
  if (linear.weight.defined()) {
    static_cast<ops::Weights&>(linear) = ops::Quantized(std::move(linear));
  }
}

Linear LoadLinear(Checkpoint& checkpoint, const std::string& prefix, int64_t in, int64_t out,
                  bool with_bias) {
  Linear linear;
  linear.weight = checkpoint.Take(prefix + ".weight", {out, in});
  if (with_bias) linear.bias = checkpoint.Take(prefix + ".bias", {out});
  return {ops::Packed(linear)};
}

LayerNorm LoadLayerNorm(Checkpoint& checkpoint, const std::string& prefix, int64_t width,
                        double eps) {
  return {checkpoint.Take(prefix + ".weight", {width}), checkpoint.Take(prefix + ".bias", {width}),
          eps};
}

RmsNorm LoadRmsNorm(Checkpoint& checkpoint, const std::string& prefix, int64_t width, double eps) {
  return {checkpoint.Take(prefix + ".weight", {width}), eps};
}

Linear LoadStacked(Checkpoint& checkpoint, const std::vector<std::string>& prefixes, int64_t in,
                   const std::vector<int64_t>& outs, bool with_bias) {
  std::vector<std::string> weights, biases;
  for (const std::string& prefix : prefixes) {
    weights.push_back(prefix + ".weight");
    biases.push_back(prefix + ".bias");
  }
  Linear linear;
  linear.weight = checkpoint.TakeRows(weights, outs, {in});
  if (with_bias) linear.bias = checkpoint.TakeRows(biases, outs, {});
  return {ops::Packed(linear)};
}

}  // namespace llavamini
