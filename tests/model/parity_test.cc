// The model against goldens that tests/golden/parity_goldens.py made from Hugging Face's own CLIP
// and LLaMA modules.
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "model/clip.h"
#include "model/compressor.h"
#include "model/fused_text.h"
#include "model/fusion.h"
#include "model/llava_mini.h"
#include "tests/model/goldens.h"
#include "tests/model/sequences.h"
#include "tests/model/tolerance.h"

namespace llavamini {
namespace {

struct Parity : testing::TestWithParam<std::string> {
  Parity()
      : goldens(LoadGoldens(GoldenFolder() / GetParam())),
        config(*LoadModelConfig(goldens.folder)) {}

  std::unique_ptr<Checkpoint> OpenCheckpoint() const {
    return Checkpoint::Open(goldens.folder, goldens.vision_tower).value();
  }

  Goldens goldens;
  ModelConfig config;
};

TEST_P(Parity, ClipFeaturesAndCompressedTokensAreThoseOfHuggingFace) {
  const c10::InferenceMode guard;
  const auto checkpoint = OpenCheckpoint();
  const ClipTower clip(*checkpoint, config);
  const Compressor compressor(*checkpoint, config);
  for (const GoldenCase& golden : goldens.cases) {
    if (golden.frames == 0) continue;
    const at::Tensor pictures = goldens.Get(golden, "pictures");  // [T, S, side, side, 3]
    const at::Tensor patches = clip(pictures.flatten(0, 1)).unflatten(0, {golden.frames, -1});
    ExpectClose(patches, goldens.Get(golden, "patches"), kFloat32, golden.name + " patches");
    const int64_t n = config.resolution_ratio, grid = config.vision.grid();
    at::Tensor seen = patches.select(1, -1);
    if (n > 1) {
      seen = patches.slice(1, 0, n * n)
                 .reshape({golden.frames, n, n, grid, grid, -1})
                 .permute({0, 1, 3, 2, 4, 5})
                 .reshape({golden.frames, n * n * grid * grid, -1});
    }
    ExpectClose(compressor(seen, n), goldens.Get(golden, "compressed"), kFloat32,
                golden.name + " compressed");
  }
}

// CLIP features [T, S, P, Dv] through the visual part of pre-fusion.
std::vector<EncodedImagePtr> EncodeFeatures(const Fusion& fusion, const ModelConfig& config,
                                            const at::Tensor& features) {
  const int64_t images = features.size(0);
  const auto shape = fusion.ShapeOf(images, config.resolution_ratio, at::kCPU);
  at::Tensor kept = at::zeros(
      {images, fusion.layers(), 2, shape.rows, config.num_key_value_heads * config.head_dim});
  at::Tensor x = fusion.VisualInput(features);
  for (int64_t layer = 0; layer < fusion.layers(); ++layer) {
    x = fusion.RunVisualBlock(layer, x, shape, kept);
  }
  std::vector<EncodedImagePtr> encoded;
  for (int64_t i = 0; i < images; ++i) {
    auto image = std::make_shared<VisualRows>();
    image->rows = kept[i].contiguous();
    image->tokens = x.unflatten(0, {images, -1})[i];
    encoded.push_back(std::move(image));
  }
  return encoded;
}

TEST_P(Parity, VisionTokensAndFusedTextAreThoseOfTheWholeConcatenation) {
  const c10::InferenceMode guard;
  const auto checkpoint = OpenCheckpoint();
  const Fusion fusion(*checkpoint, config, MakeRope(config, 512, at::kCPU));
  const DeviceStream stream(at::kCPU);
  const TextFuser fuser(
      &fusion, &stream,
      checkpoint->Take("model.embed_tokens.weight", {config.vocab_size, config.hidden_size}),
      VisualRowCount(config, config.resolution_ratio), /*add_in_order=*/false);
  for (const GoldenCase& golden : goldens.cases) {
    if (golden.frames == 0) continue;
    const auto images = EncodeFeatures(fusion, config, goldens.Get(golden, "patches"));
    FusedText text(golden.ids, golden.frames);
    fuser.Fuse({{&text, images}});
    ASSERT_EQ(text.fused, golden.frames);
    ExpectClose(text.tokens, goldens.Get(golden, "tokens").flatten(0, 1), kFloat32,
                golden.name + " tokens");
    const at::Tensor taking_part = (at::tensor(golden.ids, at::kInt) > 0).nonzero().squeeze(1);
    ExpectClose(text.text / static_cast<double>(golden.frames),
                goldens.Get(golden, "fused").index_select(0, taking_part), kFloat32,
                golden.name + " fused text");
  }
}

// Every token and log probability of every case.
void ExpectGreedyAnswers(Model& model, const Goldens& goldens) {
  for (const GoldenCase& golden : goldens.cases) {
    const at::Tensor expected = goldens.Get(golden, "greedy"),
                     logprobs = goldens.Get(golden, "logprobs");
    ASSERT_GE(expected.numel(), 32);
    Sequence sequence = Begin(model, goldens, golden, /*place=*/3, Greedy(/*logprobs=*/true));
    Finish(model, sequence, static_cast<size_t>(expected.numel()));
    ASSERT_EQ(std::ssize(sequence.tokens), expected.numel());
    for (int64_t i = 0; i < expected.numel(); ++i) {
      const TokenLogprob& token = sequence.tokens[i].token;
      ASSERT_EQ(token.id, expected[i].item<int>()) << golden.name << ", token " << i;
      ASSERT_NEAR(token.logprob, logprobs[i].item<float>(), kFloat32.logprob)
          << golden.name << ", token " << i;
    }
  }
}

// The probability of the first token of every case: later ones hang on the tokens chosen before.
void ExpectNearlyTheFirstTokens(Model& model, const Goldens& goldens, const Tolerance& tolerance) {
  for (const GoldenCase& golden : goldens.cases) {
    Sequence sequence = Begin(model, goldens, golden, /*place=*/0, Greedy(/*logprobs=*/true));
    Finish(model, sequence, 1);
    ASSERT_EQ(sequence.tokens.size(), 1);
    const TokenLogprob& token = sequence.tokens[0].token;
    const float expected = goldens.Get(golden, "logprobs")[0].item<float>();
    if (token.id == goldens.Get(golden, "greedy")[0].item<int>()) {
      EXPECT_NEAR(token.logprob, expected, tolerance.logprob) << golden.name;
    } else {  // two tokens of nearly the same probability
      EXPECT_NEAR(std::exp(token.logprob), std::exp(expected), tolerance.logprob) << golden.name;
    }
  }
}

TEST_P(Parity, GreedyTokensAndLogProbabilitiesInFloat32AreThoseOfTheReference) {
  ExpectGreedyAnswers(*LoadModel(goldens, {}), goldens);
}

TEST_P(Parity, Bfloat16StaysNearTheReference) {
  ExpectNearlyTheFirstTokens(*LoadModel(goldens, {.dtype = DtypeChoice::kBfloat16}), goldens,
                             kBfloat16);
}

TEST_P(Parity, OnAGpuGreedyTokensInFloat32AreThoseOfTheReference) {
  if (const std::string why = WhyNot(DeviceKind::kCuda); !why.empty()) GTEST_SKIP() << why;
  ExpectGreedyAnswers(*LoadModel(goldens, {.device = DeviceKind::kCuda}), goldens);
}

TEST_P(Parity, OnAGpuBfloat16AndFloat16StayNearTheReference) {
  if (const std::string why = WhyNot(DeviceKind::kCuda); !why.empty()) GTEST_SKIP() << why;
  ExpectNearlyTheFirstTokens(
      *LoadModel(goldens, {.device = DeviceKind::kCuda, .dtype = DtypeChoice::kBfloat16}), goldens,
      kBfloat16);
  ExpectNearlyTheFirstTokens(
      *LoadModel(goldens, {.device = DeviceKind::kCuda, .dtype = DtypeChoice::kFloat16}), goldens,
      kFloat16);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Parity, testing::ValuesIn(GoldenNames()),
                         [](const auto& test) { return TestNameOf(test.param); });

}  // namespace
}  // namespace llavamini
