// What a model promises on a GPU beyond the goldens: long prompts and other resolutions answer as
// on the CPU, deterministic answers have the same bits in any company, images move to the host and
// back.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "model/compressor.h"
#include "model/llava_mini.h"
#include "tests/model/goldens.h"
#include "tests/model/sequences.h"
#include "tests/model/tolerance.h"

namespace llavamini {
namespace {

struct OnGpu : testing::TestWithParam<std::string> {
  OnGpu() : goldens(LoadGoldens(GoldenFolder() / GetParam())) {}
  void SetUp() override {
    if (const std::string why = WhyNot(DeviceKind::kCuda); !why.empty()) GTEST_SKIP() << why;
  }
  std::unique_ptr<Model> Load(DtypeChoice dtype = DtypeChoice::kFloat32,
                              bool deterministic = false) const {
    return LoadModel(goldens, {DeviceKind::kCuda, dtype, deterministic});
  }
  at::Tensor PicturesOf(const GoldenCase& golden) const { return goldens.Get(golden, "pictures"); }

  Goldens goldens;
};

std::vector<EncodedImagePtr> ImagesOfCase(Model& model, const Goldens& goldens,
                                          const GoldenCase& golden) {
  if (golden.frames == 0) return {};
  return Encode(model, goldens.Get(golden, "pictures"));
}

TEST_P(OnGpu, LongPromptsAnswerAsOnTheCpu) {
  const auto cpu = LoadModel(goldens, {}), gpu = Load();
  for (const GoldenCase& golden : goldens.cases) {
    for (const size_t ids : {254, 255, 256, 257, 300, 370}) {
      const std::vector<TokenId> prompt = Repeated(golden, ids);
      const SamplingParams sampling = Greedy(/*logprobs=*/true);
      Sequence expected = Begin(*cpu, prompt, ImagesOfCase(*cpu, goldens, golden), 0, sampling);
      Sequence out = Begin(*gpu, prompt, ImagesOfCase(*gpu, goldens, golden), 7, sampling);
      Finish(*cpu, expected, 8);
      Finish(*gpu, out, 8);
      ExpectSameAnswer(out, expected, kFloat32.logprob,
                       golden.name + ", " + std::to_string(ids) + " ids");
    }
  }
}

TEST_P(OnGpu, ALongPromptSharesItsStepWithOthers) {
  const auto gpu = Load();
  const GoldenCase& golden = goldens.cases[0];
  const std::vector<TokenId> prompt = Repeated(golden, 300);
  const auto images = ImagesOfCase(*gpu, goldens, golden);
  Sequence alone = Begin(*gpu, prompt, images, 0, Greedy(/*logprobs=*/true));
  Sequence shared = Begin(*gpu, prompt, images, 1, Greedy(/*logprobs=*/true));
  Sequence row = Begin(*gpu, goldens, golden, 2, Greedy(/*logprobs=*/false));
  Sequence other = Begin(*gpu, goldens, golden, 3, Greedy(/*logprobs=*/false));
  Finish(*gpu, alone, 8);
  Step(*gpu, {&row}, {});
  Step(*gpu, {&shared, &other}, {&row});
  while (shared.tokens.size() < 8) Step(*gpu, {}, {&row, &shared, &other});
  ExpectSameAnswer(shared, alone, kFloat32.logprob, "long prompt");
  const at::Tensor expected = goldens.Get(golden, "greedy");
  for (int64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(row.ids()[i], expected[i].item<int>()) << "token " << i;
    EXPECT_EQ(other.ids()[i], expected[i].item<int>()) << "token " << i;
  }
}

TEST_P(OnGpu, EveryResolutionAnswersAsOnTheCpu) {
  const auto cpu = LoadModel(goldens, {}), gpu = Load();
  const ModelConfig config = *LoadModelConfig(goldens.folder);
  const int64_t side = config.vision.image_size;
  for (const int64_t ratio : ServedRatios(config)) {
    const int64_t parts = ratio == 1 ? 1 : ratio * ratio + 1;
    for (const int64_t count : {1, 2, 3, 4}) {
      const at::Tensor pictures = at::randint(0, 256, {count, parts, side, side, 3}, at::kByte);
      const GoldenCase& golden = goldens.cases.back();
      Sequence expected =
          Begin(*cpu, golden.ids, Encode(*cpu, pictures), 0, Greedy(/*logprobs=*/true));
      Sequence out = Begin(*gpu, golden.ids, Encode(*gpu, pictures), 0, Greedy(/*logprobs=*/true));
      Finish(*cpu, expected, 4);
      Finish(*gpu, out, 4);
      ExpectSameAnswer(out, expected, kFloat32.logprob,
                       "ratio " + std::to_string(ratio) + ", images " + std::to_string(count));
    }
  }
}

// Frames encoded one by one, every sequence alone in its steps.
std::vector<Sequence> AnswerAlone(Model& model, const Goldens& goldens, size_t count) {
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < count; ++i) {
    const GoldenCase& golden = goldens.cases[i % goldens.cases.size()];
    std::vector<EncodedImagePtr> images;
    for (int64_t frame = 0; frame < golden.frames; ++frame) {
      images.push_back(Encode(model, goldens.Get(golden, "pictures").narrow(0, frame, 1))[0]);
    }
    sequences.push_back(Begin(model, golden.ids, images, 0, Greedy(/*logprobs=*/true), 1));
    Finish(model, sequences.back(), 16);
  }
  return sequences;
}

// Frames encoded together, prompts that join running ones, steps of all sizes.
std::vector<Sequence> AnswerTogether(Model& model, const Goldens& goldens, size_t count) {
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < count; ++i) {
    const GoldenCase& golden = goldens.cases[i % goldens.cases.size()];
    const auto place = static_cast<Place>(2 * i);
    sequences.push_back(Begin(model, goldens, golden, place, Greedy(/*logprobs=*/true)));
  }
  Sequence prompt =
      Begin(model, Repeated(goldens.cases[1], 300), {}, 39, Greedy(/*logprobs=*/false));
  Sequences running;
  for (Sequence& sequence : sequences) {
    Step(model, {&sequence}, running);
    running.push_back(&sequence);
  }
  Step(model, {&prompt}, running);
  while (!running.empty()) {
    Step(model, {}, running);
    std::erase_if(running, [](const Sequence* sequence) { return sequence->tokens.size() >= 16; });
  }
  return sequences;
}

TEST_P(OnGpu, DeterministicAnswersHaveTheSameBitsInAnyCompany) {
  for (const DtypeChoice dtype : {DtypeChoice::kBfloat16, DtypeChoice::kFloat16}) {
    const auto model = Load(dtype, /*deterministic=*/true);
    for (const size_t count : {2, 9}) {
      const std::vector<Sequence> alone = AnswerAlone(*model, goldens, count),
                                  together = AnswerTogether(*model, goldens, count);
      for (size_t i = 0; i < count; ++i) {
        ExpectSameAnswer(together[i], alone[i], /*tolerance=*/0,
                         model->facts().dtype + ", sequence " + std::to_string(i));
      }
    }
  }
}

TEST_P(OnGpu, ImagesThatMovedToTheHostAndBackAnswerTheSame) {
  const auto gpu = Load();
  const GoldenCase& video = goldens.cases.back();
  const auto images = Encode(*gpu, PicturesOf(video));
  Sequence expected = Begin(*gpu, video.ids, images, 0, Greedy(/*logprobs=*/true));
  Finish(*gpu, expected, 8);
  std::vector<EncodedImagePtr> back;
  for (const EncodedImagePtr& image : images) {
    const EncodedImagePtr host = gpu->MoveToHost(image).value();
    EXPECT_TRUE(host->on_host());
    EXPECT_GE(host->bytes(), image->bytes());  // page-locked memory comes in powers of two
    back.push_back(gpu->MoveToDevice(host).value());
    EXPECT_FALSE(back.back()->on_host());
    const auto fused = gpu->BeginFusion(video.ids, 1).value();
    EXPECT_EQ(gpu->Fuse({{fused.get(), {&host, 1}}}).code(), absl::StatusCode::kInternal);
  }
  Sequence out = Begin(*gpu, video.ids, back, 1, Greedy(/*logprobs=*/true));
  Finish(*gpu, out, 8);
  ExpectSameAnswer(out, expected, /*tolerance=*/0, video.name);
}

TEST_P(OnGpu, StepsAndPiecesWereTimedAtStart) {
  const auto gpu = Load(DtypeChoice::kBfloat16);
  EXPECT_EQ(gpu->facts().steps_ahead, 1);
  EXPECT_GT(gpu->StepMilliseconds(1), 0);
  EXPECT_GT(gpu->StepMilliseconds(kPlaces), 0);
  EXPECT_GT(gpu->PieceMilliseconds(1), 0);
  EXPECT_GT(gpu->PieceMilliseconds(3), 0);
}

TEST(OnTheCpu, ImagesLieInTheHostsMemoryAndNothingRunsAhead) {
  const Goldens goldens = LoadGoldens(GoldenFolder() / "grouped");
  const auto cpu = LoadModel(goldens, {});
  const auto images = Encode(*cpu, goldens.Get(goldens.cases[0], "pictures"));
  EXPECT_FALSE(images[0]->on_host());
  EXPECT_EQ(cpu->MoveToHost(images[0]).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(cpu->MoveToDevice(images[0]).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(cpu->facts().steps_ahead, 0);
  EXPECT_FALSE(cpu->SamplesAhead(Greedy(/*logprobs=*/false)));
  EXPECT_EQ(cpu->StepMilliseconds(1), 0);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, OnGpu, testing::ValuesIn(GoldenNames()),
                         [](const auto& test) { return TestNameOf(test.param); });

}  // namespace
}  // namespace llavamini
