#include "model/checkpoint/model_config.h"

#include <nlohmann/json.hpp>

#include "model/checkpoint/error_text.h"
#include "model/checkpoint/json_reader.h"
#include "model/checkpoint/mapped_file.h"

namespace llavamini {
namespace {

using nlohmann::json;

constexpr char kFile[] = "config.json";
constexpr size_t kLargestFile = 1 << 20;

// Upper bounds far above any published model; the product of any three stays below 2^63.
constexpr int64_t kMostTokens = 1 << 22;
constexpr int64_t kMostPositions = 1 << 24;
constexpr int64_t kWidest = 1 << 16;
constexpr int64_t kWidestInner = 1 << 20;
constexpr int64_t kMostLayers = 1024;
constexpr int64_t kMostHeads = 1024;
constexpr int64_t kWidestHead = 1024;
constexpr int64_t kMostPatchesPerSide = 128;
constexpr int64_t kCompressorHeads = 8;

// Keys that name another architecture than the one served, with the one value that is.
void RefuseOtherArchitectures(JsonReader& reader) {
  reader.OneOf("model_type", {"llava_mini_llama"});
  reader.OneOf("hidden_act", {"silu"}, "silu");
  reader.OneOf("mm_projector_type", {"mlp2x_gelu"});
  reader.OneOf("mm_vision_select_feature", {"patch"}, "patch");
  for (const char* key :
       {"attention_bias", "mlp_bias", "mm_use_im_start_end", "mm_use_im_patch_token"}) {
    if (reader.Boolean(key, false)) reader.Fail(key, "true", "false");
  }
  if (reader.Find("quantization_config") != nullptr) {
    reader.Fail("quantization_config", "present", "absent: quantized weights are not served");
  }
  reader.Number("partial_rotary_factor", 1, 1, 1);
}

void ReadTrunk(JsonReader& reader, ModelConfig& config) {
  config.vocab_size = reader.Integer("vocab_size", 1, kMostTokens);
  config.hidden_size = reader.Integer("hidden_size", 1, kWidest);
  config.intermediate_size = reader.Integer("intermediate_size", 1, kWidestInner);
  config.num_hidden_layers = reader.Integer("num_hidden_layers", 1, kMostLayers);
  config.num_attention_heads = reader.Integer("num_attention_heads", 1, kMostHeads);
  config.num_key_value_heads = reader.Integer("num_key_value_heads", 1, config.num_attention_heads,
                                              config.num_attention_heads);
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    reader.Fail("num_key_value_heads", absl::StrCat(config.num_key_value_heads),
                absl::StrCat("a divisor of num_attention_heads, ", config.num_attention_heads));
  }
  if (reader.Find("head_dim") == nullptr && config.hidden_size % config.num_attention_heads != 0) {
    reader.Fail("num_attention_heads", absl::StrCat(config.num_attention_heads),
                absl::StrCat("a divisor of hidden_size, ", config.hidden_size));
  }
  config.head_dim =
      reader.Integer("head_dim", 2, kWidestHead, config.hidden_size / config.num_attention_heads);
  if (config.head_dim % 2 != 0) {
    reader.Fail("head_dim", absl::StrCat(config.head_dim), "even: its halves rotate together");
  }
  config.rms_norm_eps = reader.Number("rms_norm_eps", 1e-12, 0.1, 1e-6);
}

void ReadTokens(JsonReader& reader, ModelConfig& config) {
  config.max_position_embeddings =
      reader.Integer("max_position_embeddings", 1, kMostPositions, 2048);
  config.tokenizer_model_max_length =
      reader.Integer("tokenizer_model_max_length", 1, config.max_position_embeddings,
                     config.max_position_embeddings);
  config.bos_token_id = reader.Integer("bos_token_id", 0, config.vocab_size - 1, 1);
  config.eos_token_ids = reader.Integers("eos_token_id", 0, config.vocab_size - 1, {2});
}

// rope_scaling, or rope_parameters where newer files nest it.
std::optional<RopeScaling> ReadRopeKind(const json& object, const std::string& path,
                                        std::optional<std::string> kind_if_absent,
                                        absl::Status& failure) {
  JsonReader reader(object, path, failure);
  const char* key =
      reader.Find("rope_type") == nullptr && reader.Find("type") != nullptr ? "type" : "rope_type";
  if (reader.OneOf(key, {"llama3", "default"}, std::move(kind_if_absent)) == "default") {
    return std::nullopt;
  }
  RopeScaling scaling;
  scaling.factor = reader.Number("factor", 1, 1e6);
  scaling.low_freq_factor = reader.Number("low_freq_factor", 1e-3, 1e6);
  scaling.high_freq_factor = reader.Number("high_freq_factor", 1e-3, 1e6);
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    reader.Fail("high_freq_factor", absl::StrCat(scaling.high_freq_factor),
                absl::StrCat("above low_freq_factor, ", scaling.low_freq_factor));
  }
  scaling.original_max_position_embeddings =
      reader.Integer("original_max_position_embeddings", 1, kMostPositions);
  return scaling;
}

void ReadRope(JsonReader& reader, ModelConfig& config, absl::Status& failure) {
  constexpr double kLowestTheta = 1, kHighestTheta = 1e12;
  config.rope_theta = reader.Number("rope_theta", kLowestTheta, kHighestTheta, 10000.0);
  const json* scaling = reader.Object("rope_scaling");
  const json* parameters = reader.Object("rope_parameters");
  if (scaling != nullptr && parameters != nullptr) {
    reader.Fail("rope_parameters", "present", "absent where rope_scaling is given");
  } else if (scaling != nullptr) {
    config.rope_scaling =
        ReadRopeKind(*scaling, absl::StrCat(reader.path(), "rope_scaling."), {}, failure);
  } else if (parameters != nullptr) {
    const std::string path = absl::StrCat(reader.path(), "rope_parameters.");
    config.rope_scaling = ReadRopeKind(*parameters, path, "default", failure);
    JsonReader nested(*parameters, path, failure);
    nested.Number("partial_rotary_factor", 1, 1, 1);
    const double theta =
        nested.Number("rope_theta", kLowestTheta, kHighestTheta, config.rope_theta);
    if (reader.Find("rope_theta") != nullptr && theta != config.rope_theta) {
      nested.Fail("rope_theta", absl::StrCat(theta),
                  absl::StrCat("that of rope_theta, ", config.rope_theta));
    }
    config.rope_theta = theta;
  }
}

void ReadVisionConfig(JsonReader& reader, VisionConfig& vision) {
  vision.hidden_size = reader.Integer("hidden_size", 1, kWidest, vision.hidden_size);
  vision.intermediate_size =
      reader.Integer("intermediate_size", 1, kWidestInner, vision.intermediate_size);
  vision.num_hidden_layers =
      reader.Integer("num_hidden_layers", 1, kMostLayers, vision.num_hidden_layers);
  vision.num_attention_heads =
      reader.Integer("num_attention_heads", 1, kMostHeads, vision.num_attention_heads);
  if (vision.hidden_size % vision.num_attention_heads != 0) {
    reader.Fail("num_attention_heads", absl::StrCat(vision.num_attention_heads),
                absl::StrCat("a divisor of hidden_size, ", vision.hidden_size));
  }
  if (vision.hidden_size % kCompressorHeads != 0) {
    reader.Fail("hidden_size", absl::StrCat(vision.hidden_size),
                absl::StrCat("a multiple of ", kCompressorHeads, ", the compressor's heads"));
  }
  vision.image_size = reader.Integer("image_size", 1, 4096, vision.image_size);
  vision.patch_size = reader.Integer("patch_size", 1, vision.image_size, vision.patch_size);
  if (vision.image_size % vision.patch_size != 0) {
    reader.Fail("patch_size", absl::StrCat(vision.patch_size),
                absl::StrCat("a divisor of image_size, ", vision.image_size));
  }
  if (vision.grid() > kMostPatchesPerSide) {
    reader.Fail("patch_size", absl::StrCat(vision.patch_size),
                absl::StrCat("at least image_size / ", kMostPatchesPerSide));
  }
  vision.layer_norm_eps = reader.Number("layer_norm_eps", 1e-12, 0.1, vision.layer_norm_eps);
  const std::string act = reader.OneOf("hidden_act", {"quick_gelu", "gelu"}, "quick_gelu");
  vision.hidden_act = act == "gelu" ? HiddenAct::kGelu : HiddenAct::kQuickGelu;
  reader.Integer("num_channels", 3, 3, 3);
}

void ReadVision(JsonReader& reader, ModelConfig& config, absl::Status& failure) {
  if (const json* vision = reader.Object("vision_config"); vision != nullptr) {
    JsonReader nested(*vision, absl::StrCat(reader.path(), "vision_config."), failure);
    ReadVisionConfig(nested, config.vision);
  }
  const int64_t width = config.vision.hidden_size;
  if (const int64_t given = reader.Integer("mm_hidden_size", 1, kWidest, width); given != width) {
    reader.Fail("mm_hidden_size", absl::StrCat(given),
                absl::StrCat("the vision tower's hidden_size, ", width));
  }
  const int64_t states = config.vision.num_hidden_layers + 1;
  const int64_t layer = reader.Integer("mm_vision_select_layer", -states, states - 1, -2);
  config.vision_select_layer = layer < 0 ? layer : layer - states;
  config.compressor_size = reader.Integer("compressor_size", 1, 64, 2);
  config.prefusion_layer_num = reader.Integer("prefusion_layer_num", 1, 256, 4);
  config.resolution_ratio = reader.Integer("resolution_ratio", 1, 8, 1);
  const json* aspect = reader.Find("image_aspect_ratio");
  config.pad_to_square = aspect != nullptr && *aspect == "pad";
  if (aspect != nullptr && !aspect->is_string()) {
    reader.Fail("image_aspect_ratio", DescribeJson(*aspect), "a string");
  }
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view text) {
  const absl::StatusOr<json> document = ParseJsonObject(text);
  if (!document.ok()) return Within(kFile, document.status());
  absl::Status failure;
  JsonReader reader(*document, absl::StrCat(kFile, ": "), failure);
  ModelConfig config;
  RefuseOtherArchitectures(reader);
  ReadTrunk(reader, config);
  ReadTokens(reader, config);
  ReadRope(reader, config, failure);
  ReadVision(reader, config, failure);
  if (!failure.ok()) return failure;
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::filesystem::path& folder) {
  const absl::StatusOr<std::string> text = ReadSmallFile(folder / kFile, kLargestFile);
  if (!text.ok()) return text.status();
  return ParseModelConfig(*text);
}

}  // namespace llavamini
