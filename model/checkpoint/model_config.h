// The architecture of one checkpoint, read once from its config.json, validated, then only read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace llavamini {

// LLaMA-3.1's frequency scaling of the rotary embedding.
struct RopeScaling {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 8192;
};

enum class HiddenAct { kQuickGelu, kGelu };

// The CLIP tower. The defaults are ViT-L/14-336, which a config without vision_config means.
struct VisionConfig {
  int64_t hidden_size = 1024;
  int64_t intermediate_size = 4096;
  int64_t num_hidden_layers = 24;
  int64_t num_attention_heads = 16;
  int64_t image_size = 336;
  int64_t patch_size = 14;
  double layer_norm_eps = 1e-5;
  HiddenAct hidden_act = HiddenAct::kQuickGelu;

  int64_t grid() const { return image_size / patch_size; }  // patches per side
  int64_t patches() const { return grid() * grid(); }
};

// Field names are Hugging Face's.
struct ModelConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000.0;
  std::optional<RopeScaling> rope_scaling;  // absent: plain RoPE
  int64_t max_position_embeddings = 0;
  int64_t tokenizer_model_max_length = 0;
  int64_t bos_token_id = 0;
  std::vector<int64_t> eos_token_ids;

  int64_t compressor_size = 1;  // queries per side
  int64_t prefusion_layer_num = 4;
  int64_t resolution_ratio = 1;      // n: the checkpoint's own choice of detail
  bool pad_to_square = true;         // image_aspect_ratio == "pad"
  int64_t vision_select_layer = -2;  // index into CLIP's hidden states, from the end
  VisionConfig vision;

  int64_t compressed_tokens() const { return compressor_size * compressor_size; }  // C
};

// Parses and validates config.json. The error names the key, what it holds and what is allowed.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json);
absl::StatusOr<ModelConfig> LoadModelConfig(const std::filesystem::path& folder);

// Sampling defaults of generation_config.json; keys that are absent stay empty. A missing file is
// greedy decoding.
struct GenerationDefaults {
  float temperature = 0;  // 0 when do_sample is false
  float top_p = 1;
  int32_t top_k = 0;
  float min_p = 0;
  float repetition_penalty = 1;
  std::vector<int64_t> eos_token_ids;  // empty: those of config.json
};
absl::StatusOr<GenerationDefaults> LoadGenerationDefaults(const std::filesystem::path& folder);

}  // namespace llavamini
