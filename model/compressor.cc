#include "model/compressor.h"

#include <cmath>

#include "model/ops.h"

namespace llavamini {
namespace {

constexpr int64_t kHeads = 8;
constexpr char kPrefix[] = "model.compressor.";

}  // namespace

std::vector<int64_t> ServedRatios(const ModelConfig& config) {
  std::vector<int64_t> ratios = {1, 2};
  if (config.resolution_ratio > 2) ratios.push_back(config.resolution_ratio);
  return ratios;
}

Compressor::Compressor(Checkpoint& checkpoint, const ModelConfig& config)
    : config_(config),
      key_value_norm_(LoadLayerNorm(checkpoint, std::string(kPrefix) + "ln_kv",
                                    config.vision.hidden_size, 1e-5)),
      position_(checkpoint.Take(std::string(kPrefix) + "pos_embed",
                                {config.compressed_tokens(), config.vision.hidden_size})) {
  const int64_t width = config.vision.hidden_size;
  const std::string prefix = kPrefix;
  const LayerNorm query_norm = LoadLayerNorm(checkpoint, prefix + "ln_q", width, 1e-5);
  const at::Tensor learned = checkpoint.Take(prefix + "query", {config.compressed_tokens(), width});
  const at::Tensor weight = checkpoint.Take(prefix + "attn.in_proj_weight", {3 * width, width});
  const at::Tensor bias = checkpoint.Take(prefix + "attn.in_proj_bias", {3 * width});
  out_ = LoadLinear(checkpoint, prefix + "attn.out_proj", width, width, /*with_bias=*/true);
  if (!position_.defined() || !learned.defined() || !weight.defined() || !bias.defined() ||
      !query_norm.weight.defined() || !query_norm.bias.defined()) {
    return;  // the checkpoint keeps the failure
  }
  const auto weights = weight.chunk(3);  // of queries, keys, values
  const auto biases = bias.chunk(3);
  const Linear project{weights[0], biases[0]};
  const int64_t head_width = width / kHeads;
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_width));
  const at::Tensor query = project(query_norm(learned) + position_).to(at::kFloat) * scale;
  const at::Tensor asked = at::bmm(query.unflatten(-1, {kHeads, -1}).transpose(0, 1),
                                   weights[1].unflatten(0, {kHeads, -1}).to(at::kFloat))
                               .flatten(0, 1);
  const at::ScalarType dtype = weight.scalar_type();
  asked_ = {ops::Packed({asked.to(dtype)})};
  for (const int64_t ratio : ServedRatios(config)) {
    const at::Tensor positions = KeyPositions(ratio * config.vision.grid());
    position_scores_[ratio] = at::linear(positions.to(at::kFloat), asked).to(dtype);
  }
  value_ = {ops::Packed({weights[2].clone(), biases[2].clone()})};
}

at::Tensor Compressor::KeyPositions(int64_t grid) const {
  const int64_t side = config_.compressor_size;
  if (side == grid || side == 1) return position_;  // resizing one value repeats it
  const at::Tensor square = position_.to(at::kFloat).t().reshape({1, -1, side, side});
  return at::upsample_bicubic2d(square, {grid, grid}, /*align_corners=*/false)
      .flatten(2)
      .squeeze(0)
      .t()
      .to(position_.scalar_type());
}

at::Tensor Compressor::operator()(const at::Tensor& patches, int64_t resolution_ratio) const {
  const at::Tensor seen = key_value_norm_(patches);
  const at::Tensor scores = asked_(seen) + position_scores_.at(resolution_ratio);
  const at::Tensor weights = at::softmax(scores, 1, at::kFloat).to(seen.scalar_type());
  const at::Tensor sums = at::bmm(weights.transpose(1, 2), seen);  // [B, heads·C, Dv]
  // All heads' values of each head's sums are one small product, of which a head takes its own.
  const at::Tensor attended = value_(sums)
                                  .unflatten(2, {kHeads, -1})
                                  .unflatten(1, {kHeads, -1})  // [B, heads, C, heads, d]
                                  .diagonal(0, 1, 3)           // [B, C, d, heads]
                                  .transpose(2, 3)
                                  .flatten(2);
  return out_(attended);
}

Projector::Projector(Checkpoint& checkpoint, const ModelConfig& config)
    : first(LoadLinear(checkpoint, "model.mm_projector.0", config.vision.hidden_size,
                       config.hidden_size, /*with_bias=*/true)),
      second(LoadLinear(checkpoint, "model.mm_projector.2", config.hidden_size, config.hidden_size,
                        /*with_bias=*/true)) {}

at::Tensor Projector::operator()(const at::Tensor& features) const {
  return second(ops::ActivatedLinear(features, first, HiddenAct::kGelu));
}

}  // namespace llavamini
