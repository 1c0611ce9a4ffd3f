#include "tests/model/checkpoint/checkpoint_folder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <map>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/model_config.h"

namespace llavamini {
namespace {

using nlohmann::json;

constexpr char kTowerPrefix[] = "model.vision_tower.vision_tower.";
constexpr char kClassEmbedding[] = "vision_model.embeddings.class_embedding";
constexpr char kPostLayerNorm[] = "vision_model.post_layernorm.weight";

int64_t ElementSize(const std::string& type) {
  static const std::map<std::string, int64_t> kSizes = {
      {"BOOL", 1}, {"U8", 1}, {"F16", 2}, {"BF16", 2}, {"F32", 4}, {"F64", 8}, {"I64", 8}};
  return kSizes.at(type);
}

}  // namespace

TensorBytes CountingTensor(const std::string& name, const std::string& type,
                           const std::vector<int64_t>& shape) {
  int64_t bytes = ElementSize(type);
  for (const int64_t size : shape) bytes *= size;
  TensorBytes tensor{name, type, shape, std::string(static_cast<size_t>(bytes), '\0')};
  for (size_t i = 0; i < tensor.bytes.size(); ++i) tensor.bytes[i] = static_cast<char>(i % 59);
  return tensor;
}

std::string WriteSafetensors(const std::vector<TensorBytes>& tensors, const json& metadata) {
  json header = json::object();
  if (!metadata.is_null()) header["__metadata__"] = metadata;
  std::string data;
  for (const TensorBytes& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.type},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return WithHeader(text, data);
}

std::string WithHeader(const std::string& header, const std::string& data) {
  return LengthPrefix(header.size()) + header + data;
}

std::string LengthPrefix(uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i) & 0xff));
  return bytes;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "llavamini-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no temporary folder can be made";
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void TemporaryFolder::Write(const std::string& name, const std::string& content) const {
  std::ofstream file(path_ / name, std::ios::binary);
  file << content;
  file.close();
  if (!file) ADD_FAILURE() << name << " cannot be written";
}

void TemporaryFolder::Remove(const std::string& name) const {
  if (!std::filesystem::remove(path_ / name)) ADD_FAILURE() << name << " is not there";
}

json GoodConfig() {
  return json::parse(R"({
    "model_type": "llava_mini_llama", "hidden_act": "silu", "attention_bias": false,
    "mlp_bias": false, "vocab_size": 20, "bos_token_id": 17, "eos_token_id": [18, 19],
    "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    "max_position_embeddings": 512, "tokenizer_model_max_length": 256,
    "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch",
    "mm_projector_type": "mlp2x_gelu", "mm_hidden_size": 8, "compressor_size": 1,
    "prefusion_layer_num": 2, "resolution_ratio": 1, "image_aspect_ratio": "pad",
    "mm_use_im_start_end": false, "mm_use_im_patch_token": false,
    "vision_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3,
                      "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
                      "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}})");
}

std::vector<TensorBytes> GoodTowerTensors() {
  return {CountingTensor(kClassEmbedding, "F16", {8}), CountingTensor(kPostLayerNorm, "F16", {8})};
}

std::vector<TensorBytes> GoodTensors() {
  std::vector<TensorBytes> tensors = {
      CountingTensor("lm_head.weight", "F16", {20, 8}),
      CountingTensor("model.embed_tokens.weight", "F16", {20, 8}),
      CountingTensor("model.layers.0.self_attn.k_proj.weight", "BF16", {4, 8}),
      CountingTensor("model.layers.0.self_attn.q_proj.weight", "F32", {8, 8}),
      CountingTensor("model.norm.weight", "F16", {8})};
  for (TensorBytes tensor : GoodTowerTensors()) {
    tensor.name = kTowerPrefix + tensor.name;
    tensors.push_back(tensor);
  }
  return tensors;
}

void WriteGoodFolder(const TemporaryFolder& folder) {
  folder.Write("config.json", GoodConfig().dump());
  folder.Write("model.safetensors", WriteSafetensors(GoodTensors(), {{"format", "pt"}}));
}

std::string ShardName(const std::string& letter) { return "model-" + letter + ".safetensors"; }

json GoodIndex() {
  json weight_map = json::object();
  const std::vector<TensorBytes> tensors = GoodTensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    weight_map[tensors[i].name] = ShardName(i < 3 ? "a" : "b");
  }
  return {{"metadata", {{"total_size", 1}}}, {"weight_map", weight_map}};
}

void WriteGoodShards(const TemporaryFolder& folder) {
  folder.Write("config.json", GoodConfig().dump());
  const std::vector<TensorBytes> tensors = GoodTensors();
  folder.Write(ShardName("a"), WriteSafetensors({tensors.begin(), tensors.begin() + 3}));
  folder.Write(ShardName("b"), WriteSafetensors({tensors.begin() + 3, tensors.end()}));
  WriteIndex(folder, GoodIndex());
}

void WriteIndex(const TemporaryFolder& folder, const json& index) {
  folder.Write("model.safetensors.index.json", index.dump());
}

absl::Status LoadFolder(const std::filesystem::path& folder,
                        const std::optional<std::filesystem::path>& vision_tower) {
  const absl::StatusOr<ModelConfig> config = LoadModelConfig(folder);
  if (!config.ok()) return config.status();
  const absl::StatusOr<GenerationDefaults> defaults = LoadGenerationDefaults(folder);
  if (!defaults.ok()) return defaults.status();
  const auto checkpoint = Checkpoint::Open(folder, vision_tower);
  if (!checkpoint.ok()) return checkpoint.status();
  for (const TensorBytes& tensor : GoodTensors()) {
    if (tensor.name == "lm_head.weight" && !(*checkpoint)->Has(tensor.name)) continue;
    if (tensor.name.ends_with(kPostLayerNorm)) {
      (*checkpoint)->Expect(tensor.name, tensor.shape);
    } else {
      (*checkpoint)->Take(tensor.name, tensor.shape);
    }
  }
  return (*checkpoint)->Finish();
}

}  // namespace llavamini
