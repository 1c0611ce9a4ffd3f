// What an answer must not depend on: the steps' sizes, their order, and who else is in them. Each
// test runs on the CPU and, where there is one, on a GPU, whose steps are recorded graphs of padded
// sizes; the goldens say what every sequence answers.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "model/llava_mini.h"
#include "tests/model/goldens.h"
#include "tests/model/sequences.h"
#include "tests/model/tolerance.h"

namespace llavamini {
namespace {

class Steps : public testing::TestWithParam<std::tuple<std::string, DeviceKind>> {
 protected:
  Steps() : goldens_(LoadGoldens(GoldenFolder() / std::get<0>(GetParam()))) {}
  void SetUp() override {
    if (const std::string why = WhyNot(device()); !why.empty()) GTEST_SKIP() << why;
    model_ = LoadModel(goldens_, {.device = device()});
  }

  static DeviceKind device() { return std::get<1>(GetParam()); }
  const GoldenCase& CaseOf(size_t i) const { return goldens_.cases[i % goldens_.cases.size()]; }

  // So many sequences of all cases in turn, fused, none of them prefilled.
  std::vector<Sequence> BeginMixed(Model& model, size_t count, const SamplingParams& sampling) {
    std::vector<Sequence> sequences;
    for (size_t i = 0; i < count; ++i) {
      const auto place = static_cast<Place>(kPlaces - 1 - i);
      sequences.push_back(Begin(model, goldens_, CaseOf(i), place, sampling));
    }
    return sequences;
  }

  void ExpectGoldenTokens(const std::vector<Sequence>& sequences) const {
    for (size_t i = 0; i < sequences.size(); ++i) {
      const at::Tensor expected = goldens_.Get(CaseOf(i), "greedy");
      const std::vector<TokenId> ids = sequences[i].ids();
      for (size_t token = 0; token < ids.size(); ++token) {
        ASSERT_EQ(ids[token], expected[static_cast<int64_t>(token)].item<int>())
            << CaseOf(i).name << ", sequence " << i << " of " << sequences.size() << ", token "
            << token;
      }
    }
  }

  Goldens goldens_;
  std::unique_ptr<Model> model_;
};

Sequences PointersTo(std::vector<Sequence>& sequences, size_t first, size_t count) {
  Sequences pointers;
  for (size_t i = 0; i < count; ++i) pointers.push_back(&sequences[(first + i) % sequences.size()]);
  return pointers;
}

TEST_P(Steps, ABatchAnswersAsItsMembersDoAlone) {
  for (const size_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9}) {
    std::vector<Sequence> sequences = BeginMixed(*model_, count, Greedy(/*logprobs=*/false));
    const Sequences all = PointersTo(sequences, 0, count);
    Step(*model_, all, {});
    for (int step = 1; step < 32; ++step) Step(*model_, {}, all);
    ASSERT_EQ(sequences.back().tokens.size(), 32);
    ExpectGoldenTokens(sequences);
  }
}

// Every number of rows that is recorded up to the places, and those that are padded.
TEST_P(Steps, AnyRowsMayShareAStep) {
  std::vector<Sequence> sequences = BeginMixed(*model_, kPlaces, Greedy(/*logprobs=*/false));
  for (size_t first = 0; first < sequences.size(); first += 8) {
    Step(*model_, PointersTo(sequences, first, 8), {});
  }
  const size_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 25, 31, 32, 33, 39, 40};
  size_t first = 0;
  for (const size_t count : counts) {
    Step(*model_, {}, PointersTo(sequences, first, count));
    first += count;
  }
  ExpectGoldenTokens(sequences);
}

TEST_P(Steps, PromptsAndRowsMayShareAStep) {
  std::vector<Sequence> sequences = BeginMixed(*model_, 16, Greedy(/*logprobs=*/false));
  for (size_t started = 0; started < sequences.size(); started += 1 + started % 3) {
    const size_t prompts = std::min(sequences.size() - started, 1 + started % 3);
    Step(*model_, PointersTo(sequences, started, prompts), PointersTo(sequences, 0, started));
  }
  Step(*model_, {}, PointersTo(sequences, 0, sequences.size()));
  EXPECT_GE(sequences[0].tokens.size(), 8);
  ExpectGoldenTokens(sequences);
}

TEST_P(Steps, APlaceServesOneSequenceAfterAnother) {
  for (size_t i = 0; i < 6; ++i) {
    std::vector<Sequence> one;
    one.push_back(Begin(*model_, goldens_, CaseOf(i * 3), /*place=*/5, Greedy(/*logprobs=*/false)));
    Finish(*model_, one[0], 8);
    const at::Tensor expected = goldens_.Get(CaseOf(i * 3), "greedy");
    for (int64_t token = 0; token < 8; ++token) {
      ASSERT_EQ(one[0].ids()[token], expected[token].item<int>()) << CaseOf(i * 3).name;
    }
  }
}

TEST_P(Steps, StepsLaunchedOneAheadGiveTheSameTokens) {
  if (model_->facts().steps_ahead == 0) GTEST_SKIP() << "steps are done when they are launched";
  SamplingParams drawn;
  drawn.temperature = 1;
  drawn.top_p = 0.9F;
  drawn.seed = 12;
  for (const SamplingParams& sampling : {Greedy(/*logprobs=*/false), drawn}) {
    ASSERT_TRUE(model_->SamplesAhead(sampling));
    std::vector<Sequence> in_turn = BeginMixed(*model_, 5, sampling);
    const Sequences all_in_turn = PointersTo(in_turn, 0, 5);
    Step(*model_, all_in_turn, {});
    for (int step = 1; step < 32; ++step) Step(*model_, {}, all_in_turn);

    std::vector<Sequence> ahead = BeginMixed(*model_, 5, sampling);
    const Sequences all_ahead = PointersTo(ahead, 0, 5);
    Launch(*model_, all_ahead, {});
    Launch(*model_, {}, all_ahead);
    Collect(*model_, all_ahead, {});
    for (int step = 2; step < 32; ++step) {
      Launch(*model_, {}, all_ahead);
      Collect(*model_, {}, all_ahead);
    }
    Collect(*model_, {}, all_ahead);
    for (size_t i = 0; i < ahead.size(); ++i) {
      ASSERT_EQ(ahead[i].tokens.size(), 32);
      EXPECT_EQ(ahead[i].ids(), in_turn[i].ids()) << CaseOf(i).name;
    }
    if (sampling.temperature == 0) ExpectGoldenTokens(ahead);
  }
}

TEST_P(Steps, TheHostAndTheDeviceChooseTheSameTokensInOneStep) {
  std::vector<Sequence> sequences = BeginMixed(*model_, 6, Greedy(/*logprobs=*/false));
  for (size_t i = 0; i < 6; i += 2) sequences[i].sampling = Greedy(/*logprobs=*/true);
  EXPECT_FALSE(model_->SamplesAhead(sequences[0].sampling));
  const Sequences all = PointersTo(sequences, 0, 6);
  Step(*model_, all, {});
  for (int step = 1; step < 16; ++step) Step(*model_, {}, all);
  ExpectGoldenTokens(sequences);
  for (size_t i = 0; i < 6; ++i) {
    const float logprob = goldens_.Get(CaseOf(i), "logprobs")[15].item<float>();
    EXPECT_NEAR(sequences[i].tokens[15].token.logprob, i % 2 == 0 ? logprob : 0, kFloat32.logprob);
  }
}

// On both sides of 256, the most rows of a prompt that attend as newest rows do.
TEST_P(Steps, APromptThatHoldsItsAnswerSoFarGoesOnAsTheAnswerDid) {
  const GoldenCase& golden = goldens_.cases[1];
  ASSERT_EQ(golden.frames, 0);
  Sequence whole = Begin(*model_, Repeated(golden, 250), {}, 1, Greedy(/*logprobs=*/true));
  Finish(*model_, whole, 24);
  for (const int known : {1, 5, 6, 7, 20}) {
    std::vector<TokenId> prompt = whole.prompt;
    const std::vector<TokenId> answer = whole.ids();
    prompt.insert(prompt.end(), answer.begin(), answer.begin() + known);
    Sequence rest = Begin(*model_, prompt, {}, 0, Greedy(/*logprobs=*/true));
    Finish(*model_, rest, 24 - known);
    rest.tokens.insert(rest.tokens.begin(), whole.tokens.begin(), whole.tokens.begin() + known);
    ExpectSameAnswer(rest, whole, kFloat32.logprob, std::to_string(known) + " known");
  }
}

TEST_P(Steps, FramesMayBeEncodedAndFusedInAnyGroups) {
  const GoldenCase& video = goldens_.cases.back();
  ASSERT_EQ(video.frames, 3);
  const at::Tensor pictures = goldens_.Get(video, "pictures").repeat({4, 1, 1, 1, 1});
  std::vector<EncodedImagePtr> one_by_one;
  for (int64_t i = 0; i < pictures.size(0); ++i) {
    one_by_one.push_back(Encode(*model_, pictures.narrow(0, i, 1))[0]);
  }
  Sequence expected =
      Begin(*model_, video.ids, one_by_one, 0, Greedy(/*logprobs=*/true), /*group=*/1);
  Finish(*model_, expected, 12);
  const auto images = Encode(*model_, pictures);
  for (const size_t group : {0, 2, 5, 7}) {
    Sequence sequence = Begin(*model_, video.ids, images, 1, Greedy(/*logprobs=*/true), group);
    Finish(*model_, sequence, 12);
    ExpectSameAnswer(sequence, expected, kFloat32.logprob, "groups of " + std::to_string(group));
  }
}

TEST_P(Steps, PromptsMayBeFusedInOneCall) {
  const GoldenCase &first = goldens_.cases[0], &video = goldens_.cases.back();
  const auto image = Encode(*model_, goldens_.Get(first, "pictures"));
  const auto frames = Encode(*model_, goldens_.Get(video, "pictures"));
  Sequence alone = Begin(*model_, goldens_, first, 0, Greedy(/*logprobs=*/true));
  Sequence video_alone = Begin(*model_, goldens_, video, 1, Greedy(/*logprobs=*/true));
  Sequence together = Begin(*model_, first.ids, {}, 2, Greedy(/*logprobs=*/true));
  Sequence video_together = Begin(*model_, video.ids, {}, 3, Greedy(/*logprobs=*/true));
  together.fused = model_->BeginFusion(first.ids, 1).value();
  video_together.fused = model_->BeginFusion(video.ids, 3).value();
  together.rows = alone.rows;
  video_together.rows = video_alone.rows;
  const absl::Span<const EncodedImagePtr> all(frames);
  ASSERT_EQ(model_->Fuse(
                {{video_together.fused.get(), all.subspan(0, 2)}, {together.fused.get(), image}}),
            absl::OkStatus());
  ASSERT_EQ(model_->Fuse({{video_together.fused.get(), all.subspan(2)}}), absl::OkStatus());
  for (Sequence* sequence : {&alone, &video_alone, &together, &video_together}) {
    Finish(*model_, *sequence, 12);
  }
  ExpectSameAnswer(together, alone, kFloat32.logprob, first.name);
  ExpectSameAnswer(video_together, video_alone, kFloat32.logprob, video.name);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Steps,
                         testing::Combine(testing::ValuesIn(GoldenNames()),
                                          testing::Values(DeviceKind::kCpu, DeviceKind::kCuda)),
                         [](const auto& test) {
                           const bool on_cpu = std::get<1>(test.param) == DeviceKind::kCpu;
                           return TestNameOf(std::get<0>(test.param)) + (on_cpu ? "_cpu" : "_gpu");
                         });

}  // namespace
}  // namespace llavamini
