// config.json and generation_config.json: what good ones mean.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/checkpoint/model_config.h"
#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

ModelConfig Parsed(const json& config) {
  const absl::StatusOr<ModelConfig> parsed = ParseModelConfig(config.dump());
  EXPECT_EQ(parsed.status(), absl::OkStatus());
  return parsed.value_or(ModelConfig{});
}

TEST(ModelConfig, ReadsEveryField) {
  json raw = GoodConfig();
  raw["compressor_size"] = 3;
  raw["resolution_ratio"] = 2;
  raw["vision_config"]["hidden_act"] = "gelu";
  const ModelConfig config = Parsed(raw);
  EXPECT_EQ(config.vocab_size, 20);
  EXPECT_EQ(config.hidden_size, 8);
  EXPECT_EQ(config.intermediate_size, 16);
  EXPECT_EQ(config.num_hidden_layers, 1);
  EXPECT_EQ(config.num_attention_heads, 2);
  EXPECT_EQ(config.num_key_value_heads, 1);
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.rope_theta, 500000.0);
  ASSERT_TRUE(config.rope_scaling.has_value());
  EXPECT_EQ(config.rope_scaling->factor, 8.0);
  EXPECT_EQ(config.rope_scaling->low_freq_factor, 1.0);
  EXPECT_EQ(config.rope_scaling->high_freq_factor, 4.0);
  EXPECT_EQ(config.rope_scaling->original_max_position_embeddings, 64);
  EXPECT_EQ(config.max_position_embeddings, 512);
  EXPECT_EQ(config.tokenizer_model_max_length, 256);
  EXPECT_EQ(config.bos_token_id, 17);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(18, 19));
  EXPECT_EQ(config.compressor_size, 3);
  EXPECT_EQ(config.compressed_tokens(), 9);
  EXPECT_EQ(config.prefusion_layer_num, 2);
  EXPECT_EQ(config.resolution_ratio, 2);
  EXPECT_TRUE(config.pad_to_square);
  EXPECT_EQ(config.vision_select_layer, -2);
  EXPECT_EQ(config.vision.hidden_size, 8);
  EXPECT_EQ(config.vision.intermediate_size, 16);
  EXPECT_EQ(config.vision.num_hidden_layers, 3);
  EXPECT_EQ(config.vision.num_attention_heads, 2);
  EXPECT_EQ(config.vision.patches(), 4);
  EXPECT_EQ(config.vision.layer_norm_eps, 1e-5);
  EXPECT_EQ(config.vision.hidden_act, HiddenAct::kGelu);
}

TEST(ModelConfig, FillsAbsentKeysAsThePublishedCodeDoes) {
  const ModelConfig config = Parsed(json::parse(R"({
    "model_type": "llava_mini_llama", "vocab_size": 32000, "hidden_size": 4096,
    "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "mm_projector_type": "mlp2x_gelu"})"));
  EXPECT_EQ(config.num_key_value_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_FALSE(config.rope_scaling.has_value());
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_EQ(config.tokenizer_model_max_length, 2048);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(config.compressor_size, 2);
  EXPECT_EQ(config.prefusion_layer_num, 4);
  EXPECT_EQ(config.resolution_ratio, 1);
  EXPECT_FALSE(config.pad_to_square);
  EXPECT_EQ(config.vision_select_layer, -2);
  EXPECT_EQ(config.vision.hidden_size, 1024);
  EXPECT_EQ(config.vision.num_hidden_layers, 24);
  EXPECT_EQ(config.vision.patches(), 576);
  EXPECT_EQ(config.vision.hidden_act, HiddenAct::kQuickGelu);
}

TEST(ModelConfig, TakesOneEndTokenOrMany) {
  json raw = GoodConfig();
  raw["eos_token_id"] = 5;
  EXPECT_THAT(Parsed(raw).eos_token_ids, ElementsAre(5));
}

TEST(ModelConfig, CountsTheSelectedLayerFromTheEnd) {
  json raw = GoodConfig();  // 3 blocks, so 4 hidden states
  const std::pair<int, int> cases[] = {{-1, -1}, {-4, -4}, {0, -4}, {2, -2}, {3, -1}};
  for (const auto& [given, expected] : cases) {
    raw["mm_vision_select_layer"] = given;
    EXPECT_EQ(Parsed(raw).vision_select_layer, expected) << given;
  }
}

TEST(ModelConfig, PadsOnlyWhenTheAspectRatioIsPad) {
  json raw = GoodConfig();
  raw["image_aspect_ratio"] = "square";
  EXPECT_FALSE(Parsed(raw).pad_to_square);
  raw["image_aspect_ratio"] = nullptr;
  EXPECT_FALSE(Parsed(raw).pad_to_square);
}

TEST(ModelConfig, ReadsBothSpellingsOfRopeAlike) {
  const json scaling = GoodConfig()["rope_scaling"];
  json older = GoodConfig();
  older["rope_scaling"].erase("rope_type");
  older["rope_scaling"]["type"] = "llama3";
  json nested = GoodConfig();
  nested.erase("rope_theta");
  nested.erase("rope_scaling");
  nested["rope_parameters"] = scaling;
  nested["rope_parameters"]["rope_theta"] = 500000.0;
  json mixed = nested;
  mixed["rope_theta"] = 500000;
  for (const json& raw : {older, nested, mixed}) {
    const ModelConfig config = Parsed(raw);
    EXPECT_EQ(config.rope_theta, 500000.0) << raw;
    ASSERT_TRUE(config.rope_scaling.has_value()) << raw;
    EXPECT_EQ(config.rope_scaling->original_max_position_embeddings, 64) << raw;
  }
}

TEST(ModelConfig, TakesDefaultRopeForPlain) {
  json top = GoodConfig();
  top["rope_scaling"] = {{"rope_type", "default"}};
  json nested = GoodConfig();
  nested.erase("rope_theta");
  nested.erase("rope_scaling");
  nested["rope_parameters"] = {{"rope_theta", 500000.0}};
  for (const json& raw : {top, nested}) {
    EXPECT_FALSE(Parsed(raw).rope_scaling.has_value()) << raw;
    EXPECT_EQ(Parsed(raw).rope_theta, 500000.0) << raw;
  }
}

TEST(ModelConfig, RefusesTwoDifferentThetas) {
  json raw = GoodConfig();
  raw.erase("rope_scaling");
  raw["rope_parameters"] = {{"rope_theta", 10000.0}};
  EXPECT_THAT(std::string(ParseModelConfig(raw.dump()).status().message()),
              testing::HasSubstr("rope_parameters.rope_theta is 10000; it must be that of "));
}

TEST(ModelConfig, LoadsTheDemoCheckpoint) {
  const absl::StatusOr<ModelConfig> config =
      LoadModelConfig(std::filesystem::path(LLAVAMINI_SOURCE_DIR) / "demo/checkpoint");
  ASSERT_EQ(config.status(), absl::OkStatus());
  EXPECT_GT(config->vocab_size, 0);
}

GenerationDefaults Defaults(const std::string& text) {
  const TemporaryFolder folder;
  folder.Write("generation_config.json", text);
  const absl::StatusOr<GenerationDefaults> defaults = LoadGenerationDefaults(folder.path());
  EXPECT_EQ(defaults.status(), absl::OkStatus());
  return defaults.value_or(GenerationDefaults{});
}

TEST(GenerationConfig, IsGreedyUnlessItSamples) {
  const TemporaryFolder empty;
  ASSERT_TRUE(LoadGenerationDefaults(empty.path()).ok());
  EXPECT_EQ(LoadGenerationDefaults(empty.path())->temperature, 0);
  EXPECT_EQ(Defaults("{}").temperature, 0);
  EXPECT_EQ(Defaults(R"({"temperature": 0.7})").temperature, 0);
  EXPECT_EQ(Defaults(R"({"do_sample": false, "temperature": 0.7})").temperature, 0);
  EXPECT_EQ(Defaults(R"({"do_sample": true, "temperature": 0.5})").temperature, 0.5f);
  EXPECT_EQ(Defaults(R"({"do_sample": true})").temperature, 1);
}

TEST(GenerationConfig, ReadsEveryField) {
  const GenerationDefaults defaults =
      Defaults(R"({"do_sample": true, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
                   "repetition_penalty": 1.1, "eos_token_id": [3, 4], "max_length": 99})");
  EXPECT_EQ(defaults.top_p, 0.9f);
  EXPECT_EQ(defaults.top_k, 40);
  EXPECT_EQ(defaults.min_p, 0.05f);
  EXPECT_EQ(defaults.repetition_penalty, 1.1f);
  EXPECT_THAT(defaults.eos_token_ids, ElementsAre(3, 4));
  EXPECT_THAT(Defaults("{}").eos_token_ids, IsEmpty());
}

TEST(GenerationConfig, RefusesValuesOutOfRange) {
  for (const char* text :
       {R"({"temperature": -1})", R"({"top_p": 0})", R"({"top_p": 1.5})", R"({"top_k": -1})",
        R"({"top_k": 1.5})", R"({"min_p": 1})", R"({"repetition_penalty": 0})",
        R"({"do_sample": "yes"})", R"({"eos_token_id": -1})", R"({"eos_token_id": []})",
        R"({"top_p": NaN})", "[]", ""}) {
    const TemporaryFolder folder;
    folder.Write("generation_config.json", text);
    EXPECT_EQ(LoadGenerationDefaults(folder.path()).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

}  // namespace
}  // namespace llavamini
