#include "model/llama.h"

#include <numbers>

#include "model/memory_plan.h"

namespace llavamini {
namespace {

Linear LoadQkv(Checkpoint& checkpoint, const std::string& prefix, const ModelConfig& config) {
  const int64_t d = config.head_dim;
  return LoadStacked(checkpoint, {prefix + "q_proj", prefix + "k_proj", prefix + "v_proj"},
                     config.hidden_size,
                     {config.num_attention_heads * d, config.num_key_value_heads * d,
                      config.num_key_value_heads * d},
                     /*with_bias=*/false);
}

Linear Kept(Linear linear, bool fp8) {
  if (fp8) Quantize(linear);
  return linear;
}

// Frequencies of the pairs, float32 [d/2].
at::Tensor Frequencies(const ModelConfig& config) {
  const at::Tensor exponent =
      at::arange(0, config.head_dim, 2, at::kFloat) / static_cast<double>(config.head_dim);
  const at::Tensor frequency = at::pow(config.rope_theta, exponent.neg());
  if (!config.rope_scaling) return frequency;
  const RopeScaling& scaling = *config.rope_scaling;
  const double original = static_cast<double>(scaling.original_max_position_embeddings);
  const at::Tensor turns =
      frequency * (original / (2 * std::numbers::pi));  // within the original context
  const at::Tensor keep =
      ((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor))
          .clamp(0, 1);
  return frequency * (keep + (1 - keep) / scaling.factor);
}

}  // namespace

ops::RopeTable MakeRope(const ModelConfig& config, int64_t positions, at::Device device) {
  const at::Tensor angles = at::arange(positions, at::kFloat).unsqueeze(1) * Frequencies(config);
  return {angles.cos().to(device), angles.sin().to(device)};
}

ops::HeadShape HeadShapeOf(const ModelConfig& config) {
  return {config.num_attention_heads, config.num_key_value_heads, config.head_dim};
}

LlamaLayer::LlamaLayer(Checkpoint& checkpoint, const std::string& prefix, const ModelConfig& config,
                       bool fp8)
    : attention_norm(LoadRmsNorm(checkpoint, prefix + "input_layernorm", config.hidden_size,
                                 config.rms_norm_eps)),
      qkv(Kept(LoadQkv(checkpoint, prefix + "self_attn.", config), fp8)),
      out(Kept(LoadLinear(checkpoint, prefix + "self_attn.o_proj",
                          config.num_attention_heads * config.head_dim, config.hidden_size,
                          /*with_bias=*/false),
               fp8)),
      mlp_norm(LoadRmsNorm(checkpoint, prefix + "post_attention_layernorm", config.hidden_size,
                           config.rms_norm_eps)),
      gate_up(
          Kept(LoadStacked(checkpoint, {prefix + "mlp.gate_proj", prefix + "mlp.up_proj"},
                           config.hidden_size, {config.intermediate_size, config.intermediate_size},
                           /*with_bias=*/false),
               fp8)),
      down(Kept(LoadLinear(checkpoint, prefix + "mlp.down_proj", config.intermediate_size,
                           config.hidden_size, /*with_bias=*/false),
                fp8)) {}

at::Tensor LlamaLayer::Project(const at::Tensor& x) const {
  return ops::NormLinear(x, attention_norm.weight, attention_norm.eps, qkv);
}

at::Tensor LlamaLayer::Finish(const at::Tensor& x, const at::Tensor& attended) const {
  return FinishBlock(x, attended, nullptr).first;
}

std::pair<at::Tensor, at::Tensor> LlamaLayer::FinishAndProject(const at::Tensor& x,
                                                               const at::Tensor& attended,
                                                               const RmsNorm& next_norm,
                                                               const Linear& next) const {
  const ops::BlockStart start{next_norm.weight, next_norm.eps, next};
  return FinishBlock(x, attended, &start);
}

std::pair<at::Tensor, at::Tensor> LlamaLayer::FinishBlock(const at::Tensor& x,
                                                          const at::Tensor& attended,
                                                          const ops::BlockStart* next) const {
  const ops::BlockEnd end{out, mlp_norm.weight, mlp_norm.eps, gate_up, down};
  const int64_t slices = (x.size(0) + kMostMlpRows - 1) / kMostMlpRows;
  if (slices <= 1) return ops::FinishBlock(x, attended, end, next);
  at::Tensor y = at::empty_like(x), projected;
  for (int64_t slice = 0; slice < slices; ++slice) {
    const int64_t first = x.size(0) * slice / slices, last = x.size(0) * (slice + 1) / slices;
    const auto [y_rows, projected_rows] =
        ops::FinishBlock(x.slice(0, first, last), attended.slice(0, first, last), end, next);
    y.slice(0, first, last).copy_(y_rows);
    if (next == nullptr) continue;
    if (!projected.defined()) {
      projected = at::empty({x.size(0), projected_rows.size(1)}, projected_rows.options());
    }
    projected.slice(0, first, last).copy_(projected_rows);
  }
  return {y, projected};
}

std::vector<LlamaLayer> LoadLayers(Checkpoint& checkpoint, const std::string& prefix, int64_t count,
                                   const ModelConfig& config, bool fp8) {
  std::vector<LlamaLayer> layers;
  layers.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    layers.emplace_back(checkpoint, prefix + "." + std::to_string(i) + ".", config, fp8);
  }
  return layers;
}

}  // namespace llavamini
