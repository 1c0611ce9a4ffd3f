#include "model/layers.h"

#include "model/ops.h"

namespace llavamini {

at::Tensor Linear::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  return at::layer_norm(x, {weight.size(0)}, weight, bias, eps);
}

at::Tensor RmsNorm::operator()(const at::Tensor& x) const { return ops::RmsNorm(x, weight, eps); }

Linear LoadLinear(Checkpoint& checkpoint, const std::string& prefix, int64_t in, int64_t out,
                  bool with_bias) {
  Linear linear;
  linear.weight = checkpoint.Take(prefix + ".weight", {out, in});
  if (with_bias) linear.bias = checkpoint.Take(prefix + ".bias", {out});
  return linear;
}

LayerNorm LoadLayerNorm(Checkpoint& checkpoint, const std::string& prefix, int64_t width,
                        double eps) {
  return {checkpoint.Take(prefix + ".weight", {width}), checkpoint.Take(prefix + ".bias", {width}),
          eps};
}

RmsNorm LoadRmsNorm(Checkpoint& checkpoint, const std::string& prefix, int64_t width, double eps) {
  return {checkpoint.Take(prefix + ".weight", {width}), eps};
}

Linear Fuse(const std::vector<Linear>& parts) {
  std::vector<at::Tensor> weights, biases;
  for (const Linear& part : parts) {
    if (!part.weight.defined()) return {};  // the checkpoint keeps the failure
    weights.push_back(part.weight);
    if (part.bias.defined()) biases.push_back(part.bias);
  }
  return {at::cat(weights), biases.empty() ? at::Tensor() : at::cat(biases)};
}

}  // namespace llavamini
