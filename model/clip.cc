#include "model/clip.h"

namespace llavamini {
namespace {

constexpr char kPrefix[] = "model.vision_tower.vision_tower.vision_model.";

Linear LoadQkv(Checkpoint& checkpoint, const std::string& prefix, int64_t width) {
  return LoadStacked(checkpoint, {prefix + "q_proj", prefix + "k_proj", prefix + "v_proj"}, width,
                     {width, width, width}, /*with_bias=*/true);
}

// Elements of a patch as a row of a product, whose rows begin at multiples of 16 bytes.
int64_t PatchWidth(const VisionConfig& config) {
  return (3 * config.patch_size * config.patch_size + 7) / 8 * 8;
}

// The convolution as a product: its stride equals its size. Columns behind the kernel's are zeros.
Linear LoadPatchEmbedding(Checkpoint& checkpoint, const VisionConfig& config) {
  const at::Tensor kernel =
      checkpoint.Take(std::string(kPrefix) + "embeddings.patch_embedding.weight",
                      {config.hidden_size, 3, config.patch_size, config.patch_size});
  if (!kernel.defined()) return {};
  const int64_t elements = 3 * config.patch_size * config.patch_size;
  return {
      ops::Packed({at::constant_pad_nd(kernel.flatten(1), {0, PatchWidth(config) - elements})})};
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

void ClipBlock::operator()(at::Tensor& x, const ops::Segments& pictures) const {
  const at::Tensor rows = qkv(attention_norm(x));
  const ops::HeadShape shape{heads, heads, x.size(1) / heads};
  const at::Tensor attended =
      ops::AttendSegments(shape.Queries(rows), shape.Keys(rows), shape.Values(rows), pictures,
                          /*causal=*/false);
  out.AddTo(x, attended);
  fc2.AddTo(x, ops::ActivatedLinear(mlp_norm(x), fc1, hidden_act));
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
  scale_.mean = at::tensor({0.48145466, 0.4578275, 0.40821073}, at::kFloat).to(options);
  scale_.deviation = at::tensor({0.26862954, 0.26130258, 0.27577711}, at::kFloat).to(options);
}

at::Tensor ClipTower::Embed(const at::Tensor& pictures) const {
  const at::Tensor patches =
      ops::Patches(pictures, scale_, {config_.grid(), config_.patch_size, PatchWidth(config_)},
                   class_embedding_.scalar_type());
  return ops::LayerNormPictures(class_embedding_, patch_embedding_(patches), position_embedding_,
                                pre_norm_.weight, pre_norm_.bias, pre_norm_.eps);
}

void ClipTower::RunBlocks(at::Tensor& x, int64_t first, int64_t last,
                          const ops::Segments& pictures) const {
  for (int64_t i = first; i < last; ++i) blocks_[i](x, pictures);
}

at::Tensor ClipTower::Features(const at::Tensor& x) const {
  return x.unflatten(0, {-1, rows()}).slice(1, 1);
}

at::Tensor ClipTower::operator()(const at::Tensor& pictures) const {
  const std::vector<int64_t> counts(pictures.size(0), rows());
  const ops::Segments segments = ops::MakeSegments(counts, counts, pictures.device());
  at::Tensor x = Embed(pictures);
  RunBlocks(x, 0, block_count(), segments);
  return Features(x);
}

}  // namespace llavamini
