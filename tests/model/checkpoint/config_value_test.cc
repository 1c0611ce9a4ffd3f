// config.json: each way in which a value is refused, by loading a folder that is good but for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "model/checkpoint/model_config.h"
#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

struct Value {
  const char* name;
  const char* pointer;   // where in the good config
  const char* value;     // JSON; "" removes the key
  const char* expected;  // part of the error; "" when the config is good
};

const Value kValues[] = {
    {"ModelTypeOther", "/model_type", R"("llava_llama")",
     R"(config.json: model_type is "llava_llama"; it must be "llava_mini_llama")"},
    {"ModelTypeMissing", "/model_type", "", "model_type is missing"},
    {"ModelTypeNumber", "/model_type", "5", "model_type is 5"},
    {"ActOther", "/hidden_act", R"("gelu")", R"(hidden_act is "gelu"; it must be "silu")"},
    {"ActAbsent", "/hidden_act", "", ""},
    {"AttentionBias", "/attention_bias", "true", "attention_bias is true; it must be false"},
    {"MlpBias", "/mlp_bias", "true", "mlp_bias is true; it must be false"},
    {"MlpBiasText", "/mlp_bias", R"("false")", R"(mlp_bias is "false"; it must be true or false)"},
    {"ImageStartEnd", "/mm_use_im_start_end", "true", "mm_use_im_start_end is true"},
    {"ImagePatchToken", "/mm_use_im_patch_token", "true", "mm_use_im_patch_token is true"},
    {"ProjectorOther", "/mm_projector_type", R"("linear")", R"(it must be "mlp2x_gelu")"},
    {"ProjectorMissing", "/mm_projector_type", "", "mm_projector_type is missing"},
    {"FeatureOther", "/mm_vision_select_feature", R"("cls_patch")", R"(it must be "patch")"},
    {"Quantized", "/quantization_config", R"({"bits":4})", "quantization_config is present"},
    {"PartialRotary", "/partial_rotary_factor", "0.5", "partial_rotary_factor is 0.5"},

    {"VocabMissing", "/vocab_size", "", "vocab_size is missing; it must be an integer from 1 to"},
    {"VocabZero", "/vocab_size", "0", "vocab_size is 0"},
    {"VocabNegative", "/vocab_size", "-5", "vocab_size is -5"},
    {"VocabHuge", "/vocab_size", "4194305", "vocab_size is 4194305; it must be an integer from 1"},
    {"VocabAboveInt64", "/vocab_size", "18446744073709551615", "vocab_size is 1844674407370955161"},
    {"HiddenFraction", "/hidden_size", "8.0", "hidden_size is 8.0; it must be an integer"},
    {"HiddenText", "/hidden_size", R"("8")", R"(hidden_size is "8"; it must be an integer)"},
    {"HiddenList", "/hidden_size", "[8]", "hidden_size is a list of 1"},
    {"HiddenObject", "/hidden_size", "{}", "hidden_size is an object"},
    {"HiddenBoolean", "/hidden_size", "true", "hidden_size is true"},
    {"HiddenNull", "/hidden_size", "null", "hidden_size is missing"},
    {"HiddenHuge", "/hidden_size", "65537", "hidden_size is 65537; it must be"},
    {"IntermediateHuge", "/intermediate_size", "1048577", "intermediate_size is 1048577"},
    {"LayersZero", "/num_hidden_layers", "0", "num_hidden_layers is 0"},
    {"LayersHuge", "/num_hidden_layers", "1025", "num_hidden_layers is 1025"},
    {"HeadsDoNotDivide", "/num_attention_heads", "3",
     "num_attention_heads is 3; it must be a divisor of hidden_size, 8"},
    {"HeadsTooNarrow", "/num_attention_heads", "8", "head_dim is missing, which means 1"},
    {"KeyHeadsDoNotDivide", "/num_key_value_heads", "3", "num_key_value_heads is 3; it must be"},
    {"KeyHeadsMore", "/num_key_value_heads", "4", "num_key_value_heads is 4; it must be an integ"},
    {"KeyHeadsZero", "/num_key_value_heads", "0", "num_key_value_heads is 0"},
    {"KeyHeadsAbsent", "/num_key_value_heads", "", ""},
    {"HeadDimOdd", "/head_dim", "5", "head_dim is 5; it must be even"},
    {"HeadDimOwn", "/head_dim", "6", ""},
    {"HeadDimNull", "/head_dim", "null", ""},
    {"EpsZero", "/rms_norm_eps", "0", "rms_norm_eps is 0; it must be a number from 1e-12 to 0.1"},
    {"EpsText", "/rms_norm_eps", R"("1e-5")", R"(rms_norm_eps is "1e-5")"},
    {"PositionsZero", "/max_position_embeddings", "0", "max_position_embeddings is 0"},
    {"PositionsHuge", "/max_position_embeddings", "16777217",
     "max_position_embeddings is 16777217"},
    {"LengthAbovePositions", "/tokenizer_model_max_length", "513",
     "tokenizer_model_max_length is 513; it must be an integer from 1 to 512"},
    {"BosOutsideVocab", "/bos_token_id", "20", "bos_token_id is 20; it must be an integer from 0"},
    {"BosNegative", "/bos_token_id", "-1", "bos_token_id is -1"},
    {"EosOutsideVocab", "/eos_token_id", "20", "eos_token_id is 20"},
    {"EosSecondOutside", "/eos_token_id", "[18, 20]", "eos_token_id[1] is 20; it must be"},
    {"EosEmpty", "/eos_token_id", "[]", "eos_token_id is a list of 0"},
    {"EosNested", "/eos_token_id", "[[18]]", "eos_token_id[0] is a list of 1"},

    {"RopeThetaZero", "/rope_theta", "0", "rope_theta is 0; it must be a number from 1"},
    {"RopeScalingNull", "/rope_scaling", "null", ""},
    {"RopeScalingAbsent", "/rope_scaling", "", ""},
    {"RopeScalingText", "/rope_scaling", R"("llama3")",
     R"(rope_scaling is "llama3"; it must be an)"},
    {"RopeKindYarn", "/rope_scaling/rope_type", R"("yarn")",
     R"(rope_scaling.rope_type is "yarn"; it must be "llama3" or "default")"},
    {"RopeOlderKindLinear", "/rope_scaling", R"({"type":"linear","factor":2.0})",
     R"(rope_scaling.type is "linear")"},
    {"RopeKindMissing", "/rope_scaling/rope_type", "", "rope_scaling.rope_type is missing"},
    {"RopeFactorMissing", "/rope_scaling/factor", "", "rope_scaling.factor is missing"},
    {"RopeFactorSmall", "/rope_scaling/factor", "0.5", "rope_scaling.factor is 0.5"},
    {"RopeFactorsCross", "/rope_scaling/high_freq_factor", "1.0",
     "rope_scaling.high_freq_factor is 1; it must be above low_freq_factor, 1"},
    {"RopeOriginalFraction", "/rope_scaling/original_max_position_embeddings", "64.5",
     "rope_scaling.original_max_position_embeddings is 64.5"},
    {"RopeBothSpellings", "/rope_parameters", R"({"rope_type":"default"})",
     "rope_parameters is present; it must be absent where rope_scaling is given"},

    {"SelectLayerTooDeep", "/mm_vision_select_layer", "-5", "mm_vision_select_layer is -5"},
    {"SelectLayerTooHigh", "/mm_vision_select_layer", "4",
     "mm_vision_select_layer is 4; it must be an integer from -4 to 3"},
    {"CompressorZero", "/compressor_size", "0", "compressor_size is 0; it must be"},
    {"CompressorHuge", "/compressor_size", "65", "compressor_size is 65"},
    {"PrefusionZero", "/prefusion_layer_num", "0", "prefusion_layer_num is 0"},
    {"ResolutionZero", "/resolution_ratio", "0", "resolution_ratio is 0; it must be an integer"},
    {"ResolutionHuge", "/resolution_ratio", "9", "resolution_ratio is 9"},
    {"AspectNumber", "/image_aspect_ratio", "1", "image_aspect_ratio is 1; it must be a string"},
    {"VisionWidthDiffers", "/mm_hidden_size", "16",
     "mm_hidden_size is 16; it must be the vision tower's hidden_size, 8"},
    {"VisionText", "/vision_config", R"("clip")", R"(vision_config is "clip"; it must be an obj)"},
    {"VisionAbsent", "/vision_config", "", "the vision tower's hidden_size, 1024"},
    {"VisionHidden", "/vision_config/hidden_size", "12",
     "vision_config.hidden_size is 12; it must be a multiple of 8"},
    {"VisionHeads", "/vision_config/num_attention_heads", "3",
     "vision_config.num_attention_heads is 3; it must be a divisor of hidden_size, 8"},
    {"VisionPatch", "/vision_config/patch_size", "13",
     "vision_config.patch_size is 13; it must be a divisor of image_size, 28"},
    {"VisionPatchLarge", "/vision_config/patch_size", "56", "vision_config.patch_size is 56"},
    {"VisionImageHuge", "/vision_config/image_size", "14000", "vision_config.image_size is 14000"},
    {"VisionManyPatches", "/vision_config/image_size", "3584", "patch_size is 14; it must be at"},
    {"VisionEps", "/vision_config/layer_norm_eps", "-1", "vision_config.layer_norm_eps is -1"},
    {"VisionAct", "/vision_config/hidden_act", R"("relu")",
     R"(vision_config.hidden_act is "relu"; it must be "quick_gelu" or "gelu")"},
    {"VisionChannels", "/vision_config/num_channels", "1", "vision_config.num_channels is 1"},
};

class ConfigValueTest : public testing::TestWithParam<Value> {};

TEST_P(ConfigValueTest, IsAcceptedOrRefusedByItsKey) {
  const json::json_pointer pointer(GetParam().pointer);
  json config = GoodConfig();
  if (*GetParam().value == '\0') {
    config[pointer.parent_pointer()].erase(pointer.back());
  } else {
    config[pointer] = json::parse(GetParam().value);
  }
  const TemporaryFolder folder;
  WriteGoodFolder(folder);
  folder.Write("config.json", config.dump());
  const absl::Status status = LoadFolder(folder.path());
  const std::string expected = GetParam().expected;
  if (expected.empty()) {
    EXPECT_EQ(status, absl::OkStatus());
    return;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(expected));
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("config.json: "));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("\n")));
}

INSTANTIATE_TEST_SUITE_P(ModelConfig, ConfigValueTest, testing::ValuesIn(kValues),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(ModelConfig, RefusesTextThatIsNotOneStrictObject) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "config.json: is not valid JSON"},
      {"[]", "config.json: is a list of 0; it must be an object"},
      {"null", "config.json: is null; it must be an object"},
      {R"({"vocab_size": NaN})", "config.json: is not valid JSON"},
      {R"({"vocab_size": Infinity})", "config.json: is not valid JSON"},
      {R"({"vocab_size": 1, "vocab_size": 2})", R"(the name "vocab_size" occurs twice)"},
      {R"({"a": {"b": 1, "b": 2}})", R"(the name "b" occurs twice)"},
      {R"({} {})", "is not valid JSON"},
      {R"({"a": 1,})", "is not valid JSON"},
      {R"({"a": )" + std::string(40, '[') + std::string(40, ']') + "}", "nested deeper than 32"}};
  for (const auto& [text, expected] : cases) {
    const absl::Status status = ParseModelConfig(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(expected)) << text;
  }
}

TEST(ModelConfig, ShowsAwkwardTextEscapedAndCut) {
  json config = GoodConfig();
  config["model_type"] = "line\nbreak" + std::string(500, 'x');
  const std::string message(ParseModelConfig(config.dump()).status().message());
  EXPECT_THAT(message, HasSubstr("\"line\\nbreakxxx"));
  EXPECT_LT(message.size(), 160u);
}

}  // namespace
}  // namespace llavamini
