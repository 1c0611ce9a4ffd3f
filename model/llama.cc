#include "model/llama.h"

#include <cmath>
#include <numbers>

#include "model/ops.h"

namespace llavamini {
namespace {

Linear LoadQkv(Checkpoint& checkpoint, const std::string& prefix, const ModelConfig& config) {
  const int64_t width = config.hidden_size, d = config.head_dim;
  const auto load = [&](const char* name, int64_t heads) {
    return LoadLinear(checkpoint, prefix + name, width, heads * d, /*with_bias=*/false);
  };
  return Fuse({load("q_proj", config.num_attention_heads),
               load("k_proj", config.num_key_value_heads),
               load("v_proj", config.num_key_value_heads)});
}

Linear LoadGateUp(Checkpoint& checkpoint, const std::string& prefix, const ModelConfig& config) {
  const auto load = [&](const char* name) {
    return LoadLinear(checkpoint, prefix + name, config.hidden_size, config.intermediate_size,
                      /*with_bias=*/false);
  };
  return Fuse({load("gate_proj"), load("up_proj")});
}

}  // namespace

Rope::Rope(const ModelConfig& config, at::Device device) {
  const at::Tensor exponent =
      at::arange(0, config.head_dim, 2, at::kFloat) / static_cast<double>(config.head_dim);
  at::Tensor frequency = at::pow(config.rope_theta, exponent.neg());
  if (config.rope_scaling) {
    const RopeScaling& scaling = *config.rope_scaling;
    const double original = static_cast<double>(scaling.original_max_position_embeddings);
    const at::Tensor turns =
        frequency * (original / (2 * std::numbers::pi));  // within the original context
    const at::Tensor keep =
        ((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor))
            .clamp(0, 1);
    frequency = frequency * (keep + (1 - keep) / scaling.factor);
  }
  frequencies_ = frequency.to(device);
}

RopeRows Rope::operator()(const at::Tensor& positions) const {
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1) * frequencies_;
  return {angles.cos(), angles.sin()};
}

LlamaLayer::LlamaLayer(Checkpoint& checkpoint, const std::string& prefix, const ModelConfig& config)
    : query_heads(config.num_attention_heads),
      key_value_heads(config.num_key_value_heads),
      head_dim(config.head_dim),
      attention_norm(LoadRmsNorm(checkpoint, prefix + "input_layernorm", config.hidden_size,
                                 config.rms_norm_eps)),
      qkv(LoadQkv(checkpoint, prefix + "self_attn.", config)),
      out(LoadLinear(checkpoint, prefix + "self_attn.o_proj", query_heads * head_dim,
                     config.hidden_size, /*with_bias=*/false)),
      mlp_norm(LoadRmsNorm(checkpoint, prefix + "post_attention_layernorm", config.hidden_size,
                           config.rms_norm_eps)),
      gate_up(LoadGateUp(checkpoint, prefix + "mlp.", config)),
      down(LoadLinear(checkpoint, prefix + "mlp.down_proj", config.intermediate_size,
                      config.hidden_size, /*with_bias=*/false)) {}

ProjectedRows LlamaLayer::Project(const at::Tensor& x, const RopeRows& rope) const {
  const at::Tensor heads =
      qkv(attention_norm(x)).unflatten(-1, {-1, head_dim});  // [N, Hq + 2·Hkv, d]
  // Queries and keys turn by the same angles: one call for both.
  const at::Tensor rotated =
      ops::Rotate(heads.narrow(1, 0, query_heads + key_value_heads), rope.cos, rope.sin);
  return {rotated.narrow(1, 0, query_heads), rotated.narrow(1, query_heads, key_value_heads),
          heads.narrow(1, query_heads + key_value_heads, key_value_heads)};
}

at::Tensor LlamaLayer::Finish(const at::Tensor& x, const at::Tensor& attended) const {
  const at::Tensor y = x + out(attended);
  return y + down(ops::SiluMultiply(gate_up(mlp_norm(y))));
}

std::vector<LlamaLayer> LoadLayers(Checkpoint& checkpoint, const std::string& prefix, int64_t count,
                                   const ModelConfig& config) {
  std::vector<LlamaLayer> layers;
  layers.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    layers.emplace_back(checkpoint, prefix + "." + std::to_string(i) + ".", config);
  }
  return layers;
}

}  // namespace llavamini
