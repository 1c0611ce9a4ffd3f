#include "model/clip.h"

namespace llavamini {
namespace {

constexpr char kPrefix[] = "model.vision_tower.vision_tower.vision_model.";

Linear LoadQkv(Checkpoint& checkpoint, const std::string& prefix, int64_t width) {
  return Fuse({LoadLinear(checkpoint, prefix + "q_proj", width, width, /*with_bias=*/true),
               LoadLinear(checkpoint, prefix + "k_proj", width, width, /*with_bias=*/true),
               LoadLinear(checkpoint, prefix + "v_proj", width, width, /*with_bias=*/true)});
}

// The convolution as a product: its stride equals its size.
Linear LoadPatchEmbedding(Checkpoint& checkpoint, const VisionConfig& config) {
  const at::Tensor kernel =
      checkpoint.Take(std::string(kPrefix) + "embeddings.patch_embedding.weight",
                      {config.hidden_size, 3, config.patch_size, config.patch_size});
  return {kernel.defined() ? kernel.flatten(1) : kernel, {}};
}

// Blocks behind the features are in the file, but never run: checked, not loaded.
void ExpectBlock(Checkpoint& checkpoint, const std::string& prefix, const VisionConfig& config) {
  const int64_t width = config.hidden_size, inner = config.intermediate_size;
  const auto expect = [&](const std::string& name, at::IntArrayRef weight, int64_t bias) {
    checkpoint.Expect(prefix + name + ".weight", weight);
    checkpoint.Expect(prefix + name + ".bias", {bias});
  };
  for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
    expect(std::string("self_attn.") + name, {width, width}, width);
  }
  for (const char* name : {"layer_norm1", "layer_norm2"}) expect(name, {width}, width);
  expect("mlp.fc1", {inner, width}, inner);
  expect("mlp.fc2", {width, inner}, width);
}

}  // namespace

ClipBlock::ClipBlock(Checkpoint& checkpoint, const std::string& prefix, const VisionConfig& config)
    : heads(config.num_attention_heads),
      hidden_act(config.hidden_act),
      attention_norm(LoadLayerNorm(checkpoint, prefix + "layer_norm1", config.hidden_size,
                                   config.layer_norm_eps)),
      qkv(LoadQkv(checkpoint, prefix + "self_attn.", config.hidden_size)),
      out(LoadLinear(checkpoint, prefix + "self_attn.out_proj", config.hidden_size,
                     config.hidden_size, /*with_bias=*/true)),
      mlp_norm(LoadLayerNorm(checkpoint, prefix + "layer_norm2", config.hidden_size,
                             config.layer_norm_eps)),
      fc1(LoadLinear(checkpoint, prefix + "mlp.fc1", config.hidden_size, config.intermediate_size,
                     /*with_bias=*/true)),
      fc2(LoadLinear(checkpoint, prefix + "mlp.fc2", config.intermediate_size, config.hidden_size,
                     /*with_bias=*/true)) {}

at::Tensor ClipBlock::operator()(const at::Tensor& x) const {
  const auto projected =
      qkv(attention_norm(x)).unflatten(-1, {3, heads, -1}).permute({2, 0, 3, 1, 4});
  const at::Tensor attended = at::scaled_dot_product_attention(projected[0], projected[1],
                                                               projected[2])  // [N, heads, P+1, d]
                                  .transpose(1, 2)
                                  .flatten(2);
  const at::Tensor y = x + out(attended);
  const at::Tensor inner = fc1(mlp_norm(y));
  const at::Tensor active =
      hidden_act == HiddenAct::kQuickGelu ? inner * at::sigmoid(1.702 * inner) : at::gelu(inner);
  return y + fc2(active);
}

ClipTower::ClipTower(Checkpoint& checkpoint, const ModelConfig& config)
    : config_(config.vision),
      patch_embedding_(LoadPatchEmbedding(checkpoint, config.vision)),
      class_embedding_(checkpoint.Take(std::string(kPrefix) + "embeddings.class_embedding",
                                       {config.vision.hidden_size})),
      position_embedding_(
          checkpoint.Take(std::string(kPrefix) + "embeddings.position_embedding.weight",
                          {config.vision.patches() + 1, config.vision.hidden_size})),
      pre_norm_(LoadLayerNorm(checkpoint, std::string(kPrefix) + "pre_layrnorm",
                              config.vision.hidden_size, config.vision.layer_norm_eps)) {
  const int64_t run = config_.num_hidden_layers + 1 + config.vision_select_layer;
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    const std::string prefix = std::string(kPrefix) + "encoder.layers." + std::to_string(i) + ".";
    if (i < run) {
      blocks_.emplace_back(checkpoint, prefix, config_);
    } else {
      ExpectBlock(checkpoint, prefix, config_);
    }
  }
  for (const char* name : {"post_layernorm.weight", "post_layernorm.bias"}) {
    checkpoint.Expect(std::string(kPrefix) + name, {config_.hidden_size});
  }
  if (!class_embedding_.defined()) return;
  const auto options = class_embedding_.options().dtype(at::kFloat);
  mean_ = at::tensor({0.48145466, 0.4578275, 0.40821073}, at::kFloat).to(options);
  deviation_ = at::tensor({0.26862954, 0.26130258, 0.27577711}, at::kFloat).to(options);
}

at::Tensor ClipTower::Embed(const at::Tensor& parts) const {
  const int64_t grid = config_.grid(), patch = config_.patch_size;
  const at::Tensor pixels = (parts.to(at::kFloat) * (1.0 / 255.0) - mean_) / deviation_;
  const at::Tensor patches = pixels.narrow(1, 0, grid * patch)
                                 .narrow(2, 0, grid * patch)
                                 .reshape({-1, grid, patch, grid, patch, 3})
                                 .permute({0, 1, 3, 5, 2, 4})
                                 .reshape({-1, grid * grid, 3 * patch * patch})
                                 .to(class_embedding_.scalar_type());
  const at::Tensor first = class_embedding_.expand({patches.size(0), 1, -1});
  return at::cat({first, patch_embedding_(patches)}, 1) + position_embedding_;
}

at::Tensor ClipTower::operator()(const at::Tensor& parts) const {
  at::Tensor x = pre_norm_(Embed(parts));
  for (const ClipBlock& block : blocks_) x = block(x);
  return x.slice(1, 1);
}

}  // namespace llavamini
