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
  at::Tensor frequency = at::pow(config.rope_theta, exponent.neg());
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

// Calls work(rows, index of the first) for slices of x of at most kMostMlpRows rows, equally long.
template <typename Work>
void ForSlices(const at::Tensor& x, const Work& work) {
  const int64_t rows = x.size(0), slices = (rows + kMostMlpRows - 1) / kMostMlpRows;
  for (int64_t slice = 0; slice < slices; ++slice) {
    const int64_t first = rows * slice / slices, last = rows * (slice + 1) / slices;
    work(x.slice(0, first, last), first);
  }
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
  if (x.size(0) <= kMostMlpRows) return ops::FinishBlock(x, attended, end, next);
  at::Tensor y = out.Add(attended, x), projected;
  AddMlp(y);
  if (next == nullptr) return {y, projected};
  ForSlices(y, [&](const at::Tensor& rows, int64_t first) {
    const at::Tensor made = ops::NormLinear(rows, next->norm, next->eps, next->product);
    if (!projected.defined()) projected = at::empty({y.size(0), made.size(1)}, made.options());
    projected.narrow(0, first, made.size(0)).copy_(made);
  });
  return {y, projected};
}

void LlamaLayer::FinishInPlace(at::Tensor& x, const at::Tensor& attended) const {
  out.AddTo(x, attended);
  AddMlp(x);
}

void LlamaLayer::AddMlp(at::Tensor& x) const {
  ForSlices(x, [&](at::Tensor rows, int64_t /*first*/) {
    down.AddTo(rows, ops::NormGatedLinear(rows, mlp_norm.weight, mlp_norm.eps, gate_up));
  });
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
