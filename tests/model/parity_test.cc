// The model against goldens that tests/golden/parity_goldens.py made from Hugging Face's own CLIP
// and LLaMA modules.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "model/clip.h"
#include "model/compressor.h"
#include "model/device.h"
#include "model/fusion.h"
#include "model/llava_mini.h"
#include "tests/model/goldens.h"
#include "tests/model/tolerance.h"

namespace llavamini {
namespace {

constexpr int32_t kPages = 24;

struct Parity : testing::TestWithParam<std::string> {
  Parity()
      : goldens(LoadGoldens(GoldenFolder() / GetParam())),
        config(*LoadModelConfig(goldens.folder)) {}

  std::unique_ptr<Checkpoint> OpenCheckpoint() const {
    return Checkpoint::Open(goldens.folder, goldens.vision_tower).value();
  }
  std::unique_ptr<Model> LoadModel(DtypeChoice dtype = DtypeChoice::kFloat32,
                                   DeviceKind device = DeviceKind::kCpu) const {
    LoadOptions options;
    options.folder = goldens.folder;
    options.vision_tower = goldens.vision_tower;
    options.device = device;
    options.dtype = dtype;
    options.kv_pages = kPages;
    options.threads = 1;  // tiny tensors: more threads only wait for each other
    return LoadLlavaMini(options, config).value();
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

TEST_P(Parity, VisionTokensAndFusedTextAreThoseOfTheWholeConcatenation) {
  const c10::InferenceMode guard;
  const auto checkpoint = OpenCheckpoint();
  const Rope rope(config, at::kCPU);
  const Fusion fusion(*checkpoint, config, rope);
  const at::Tensor embedding =
      checkpoint->Take("model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  for (const GoldenCase& golden : goldens.cases) {
    if (golden.frames == 0) continue;
    const auto images = fusion.EncodeImages(goldens.Get(golden, "patches"));
    std::vector<const VisualRows*> frames;
    std::vector<at::Tensor> tokens;
    for (const auto& image : images) {
      frames.push_back(static_cast<const VisualRows*>(image.get()));
      tokens.push_back(frames.back()->tokens);
    }
    ExpectClose(at::stack(tokens), goldens.Get(golden, "tokens"), kFloat32,
                golden.name + " tokens");
    const at::Tensor ids = at::tensor(golden.ids, at::kInt),
                     taking_part = (ids > 0).nonzero().squeeze(1);
    const at::Tensor text = at::embedding(embedding, ids.index_select(0, taking_part));
    ExpectClose(fusion.FuseText(text, frames),
                goldens.Get(golden, "fused").index_select(0, taking_part), kFloat32,
                golden.name + " fused text");
  }
}

bool HasGpu() {
  LoadOptions options;
  options.device = DeviceKind::kCuda;
  return ChoosePlacement(options).ok();
}

// What a model answers greedily, with log probabilities.
std::vector<SampledToken> Answer(Model& model, const GoldenCase& golden, const Goldens& goldens,
                                 int count, absl::Span<const int32_t> pages) {
  std::vector<ImageInput> inputs;
  if (golden.frames > 0) inputs = ImagesOf(goldens.Get(golden, "pictures"));
  std::vector<const ImageInput*> views;
  for (const ImageInput& input : inputs) views.push_back(&input);
  const auto images = model.EncodeImages(views).value();
  SamplingParams sampling;
  sampling.logprobs = true;
  std::vector<SampledToken> tokens =
      model.Prefill({{golden.ids, images, pages, &sampling}}).value();
  std::vector<TokenId> answer;
  int32_t position = static_cast<int32_t>(
      PromptLength(golden.ids.size(), images.size(), model.facts().tokens_per_image));
  while (static_cast<int>(tokens.size()) < count) {
    answer.push_back(tokens.back().token.id);
    tokens.push_back(model.Decode({{golden.ids, answer, position++, pages, &sampling}}).value()[0]);
  }
  return tokens;
}

// Every token and log probability of every case.
void ExpectGreedyAnswers(Model& model, const Goldens& goldens) {
  std::vector<int32_t> pages;
  for (int32_t page = kPages - 1; page >= 0; --page)
    pages.push_back((page * 7) % kPages);  // in no order
  for (const GoldenCase& golden : goldens.cases) {
    const at::Tensor expected = goldens.Get(golden, "greedy"),
                     logprobs = goldens.Get(golden, "logprobs");
    ASSERT_GE(expected.numel(), 32);
    const auto tokens = Answer(model, golden, goldens, static_cast<int>(expected.numel()), pages);
    for (int64_t i = 0; i < expected.numel(); ++i) {
      ASSERT_EQ(tokens[i].token.id, expected[i].item<int>()) << golden.name << ", token " << i;
      ASSERT_NEAR(tokens[i].token.logprob, logprobs[i].item<float>(), kFloat32.logprob)
          << golden.name << ", token " << i;
    }
  }
}

// The probability of the first token of every case: later ones hang on the tokens chosen before.
void ExpectNearlyTheFirstTokens(Model& model, const Goldens& goldens, const Tolerance& tolerance) {
  std::vector<int32_t> pages(kPages);
  std::iota(pages.begin(), pages.end(), 0);
  for (const GoldenCase& golden : goldens.cases) {
    const SampledToken token = Answer(model, golden, goldens, 1, pages)[0];
    const float expected = goldens.Get(golden, "logprobs")[0].item<float>();
    if (token.token.id == goldens.Get(golden, "greedy")[0].item<int>()) {
      EXPECT_NEAR(token.token.logprob, expected, tolerance.logprob) << golden.name;
    } else {  // two tokens of nearly the same probability
      EXPECT_NEAR(std::exp(token.token.logprob), std::exp(expected), tolerance.logprob)
          << golden.name;
    }
  }
}

TEST_P(Parity, GreedyTokensAndLogProbabilitiesInFloat32AreThoseOfTheReference) {
  ExpectGreedyAnswers(*LoadModel(), goldens);
}

TEST_P(Parity, Bfloat16StaysNearTheReference) {
  ExpectNearlyTheFirstTokens(*LoadModel(DtypeChoice::kBfloat16), goldens, kBfloat16);
}

TEST_P(Parity, OnAGpuGreedyTokensInFloat32AreThoseOfTheReference) {
  if (!HasGpu()) GTEST_SKIP() << "no GPU here";
  ExpectGreedyAnswers(*LoadModel(DtypeChoice::kFloat32, DeviceKind::kCuda), goldens);
}

TEST_P(Parity, OnAGpuBfloat16AndFloat16StayNearTheReference) {
  if (!HasGpu()) GTEST_SKIP() << "no GPU here";
  ExpectNearlyTheFirstTokens(*LoadModel(DtypeChoice::kBfloat16, DeviceKind::kCuda), goldens,
                             kBfloat16);
  ExpectNearlyTheFirstTokens(*LoadModel(DtypeChoice::kFloat16, DeviceKind::kCuda), goldens,
                             kFloat16);
}

TEST_P(Parity, ABatchAnswersAsItsMembersDoAlone) {
  const auto model = LoadModel();
  SamplingParams sampling;
  std::vector<std::vector<EncodedImagePtr>> images;
  std::vector<std::vector<int32_t>> pages;
  std::vector<PromptRow> prompts;
  for (size_t i = 0; i < goldens.cases.size(); ++i) {
    std::vector<ImageInput> inputs;
    if (goldens.cases[i].frames > 0) inputs = ImagesOf(goldens.Get(goldens.cases[i], "pictures"));
    std::vector<const ImageInput*> views;
    for (const ImageInput& input : inputs) views.push_back(&input);
    images.push_back(model->EncodeImages(views).value());
    const int32_t first = static_cast<int32_t>(i) * 6;
    pages.push_back({first + 3, first, first + 5, first + 1, first + 2, first + 4});
  }
  for (size_t i = 0; i < goldens.cases.size(); ++i) {
    prompts.push_back({goldens.cases[i].ids, images[i], pages[i], &sampling});
  }
  std::vector<std::vector<TokenId>> answers;
  const std::vector<SampledToken> first = model->Prefill(prompts).value();
  for (const SampledToken& token : first) answers.push_back({token.token.id});
  for (int step = 1; step < 32; ++step) {
    std::vector<DecodeRow> rows;
    for (size_t i = 0; i < answers.size(); ++i) {
      const auto length =
          PromptLength(prompts[i].prompt.size(), images[i].size(), model->facts().tokens_per_image);
      rows.push_back({prompts[i].prompt, answers[i], static_cast<int32_t>(length) + step - 1,
                      pages[i], &sampling});
    }
    const auto tokens = model->Decode(rows).value();
    for (size_t i = 0; i < answers.size(); ++i) answers[i].push_back(tokens[i].token.id);
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    const at::Tensor expected = goldens.Get(goldens.cases[i], "greedy");
    for (int step = 0; step < 32; ++step) {
      ASSERT_EQ(answers[i][step], expected[step].item<int>())
          << goldens.cases[i].name << ", token " << step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Parity, testing::ValuesIn(GoldenNames()),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace llavamini
