#include "server/engine/engine_core.h"

#include "tests/server/engine/core_fixture.h"

namespace llavamini {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class EngineCoreTest : public CoreTest {};

TEST_F(EngineCoreTest, HasNothingToDoWithoutRequests) {
  EXPECT_FALSE(core_->RunStep());
  EXPECT_TRUE(core_->idle());
  EXPECT_EQ(core_->NextDeadline(), absl::InfiniteFuture());
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(EngineCoreTest, TellsHowFarARequestIs) {
  const auto sink = Submit(1, {FakeImage(1), FakeImage(2), FakeImage(3)});
  RunToTheEnd();
  EXPECT_THAT(
      sink->progress,
      ElementsAre(std::tuple(Stage::kQueued, 0, 0), std::tuple(Stage::kEncodingVision, 0, 3),
                  std::tuple(Stage::kEncodingVision, 2, 3),
                  std::tuple(Stage::kEncodingVision, 3, 3), std::tuple(Stage::kPrefill, 0, 5),
                  std::tuple(Stage::kPrefill, 5, 5)));
  EXPECT_THAT(sink->problems, IsEmpty());
}

TEST_F(EngineCoreTest, MeasuresEachStage) {
  const auto sink = Submit(1, {FakeImage(1), FakeImage(2), FakeImage(3)});
  now_ += absl::Seconds(10);
  RunToTheEnd();
  const Timings& timings = sink->outcome.timings;
  EXPECT_EQ(timings.media_decode, absl::Seconds(7));
  EXPECT_EQ(timings.queue, absl::Seconds(10));
  EXPECT_EQ(timings.vision_encode, absl::Seconds(3 + 3));  // two batches
  EXPECT_EQ(timings.prefill, absl::Seconds(5));
  EXPECT_EQ(timings.first_token, absl::Seconds(10 + 6 + 5));
  EXPECT_EQ(timings.total, timings.first_token + absl::Seconds(2));
}

TEST_F(EngineCoreTest, CountsNoVisionTimeWithoutImagesToEncode) {
  const auto first = Submit(1, {FakeImage(1)});
  RunToTheEnd();
  const auto second = Submit(2, {FakeImage(1)});
  RunToTheEnd();
  EXPECT_EQ(first->outcome.timings.vision_encode, absl::Seconds(3));
  EXPECT_EQ(second->outcome.timings.vision_encode, absl::ZeroDuration());
}

TEST_F(EngineCoreTest, LaunchesAStepBeforeTheOneBeforeItIsCollected) {
  const auto sink = Submit(1);
  EXPECT_EQ(NextCalls(), "L");
  EXPECT_THAT(sink->ids, IsEmpty());
  EXPECT_EQ(NextCalls(), "LC");
  EXPECT_EQ(sink->ids.size(), 1u);
  EXPECT_EQ(NextCalls(), "LC");
  EXPECT_EQ(NextCalls(), "C");  // all of three tokens are chosen
  EXPECT_EQ(sink->finished, 1);
  RunToTheEnd();
}

TEST_F(EngineCoreTest, CollectsAStepAtOnceWhereTheModelDoesNotLookAhead) {
  facts_.steps_ahead = 0;
  StartCore();
  Submit(1);
  for (int step = 0; step < 3; ++step) EXPECT_EQ(NextCalls(), "LC");
  RunToTheEnd();
}

TEST_F(EngineCoreTest, WaitsForATokenThatTheModelNeeds) {
  auto request = MakeRequest(1, {}, 3);
  request->sampling.repetition_penalty = 2;
  const auto sink = Submit(std::move(request));
  for (int step = 0; step < 3; ++step) {
    EXPECT_EQ(NextCalls(), "L");
    EXPECT_EQ(NextCalls(), "C");
  }
  EXPECT_EQ(sink->ids.size(), 3u);
  RunToTheEnd();
}

TEST_F(EngineCoreTest, DropsTheTokenOfASequenceThatEndedMeanwhile) {
  options_.max_running = 1;
  behaviour_.end_every = 1;
  StartCore();
  const auto first = Submit(1);
  const auto second = Submit(2);
  core_->RunStep();
  EXPECT_EQ(NextCalls(), "LC");  // a token too many is on its way when the first one ends it
  EXPECT_EQ(first->finished, 1);
  EXPECT_EQ(NextCalls(), "LC");  // the second one has the place at once
  EXPECT_EQ(calls_.front().who, std::vector<uint64_t>{2});
  EXPECT_EQ(calls_.back().who, std::vector<uint64_t>{1});
  EXPECT_EQ(second->outcome.usage.completion_tokens, 0);
  RunToTheEnd();
  EXPECT_EQ(first->outcome.usage.completion_tokens, 1);
  EXPECT_EQ(second->outcome.usage.completion_tokens, 1);
  EXPECT_THAT(first->problems, IsEmpty());
}

TEST_F(EngineCoreTest, FreesPlaceAndPagesOfACancelledRequestThatIsOnTheDevice) {
  options_.max_running = 1;
  StartCore();
  auto request = MakeRequest(1, {}, 9);
  const auto cancelled = request->cancelled;
  const auto first = Submit(std::move(request));
  const auto second = Submit(2);
  core_->RunStep();
  cancelled->store(true);
  EXPECT_EQ(NextCalls(), "LC");
  EXPECT_EQ(first->outcome.status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls_.front().who, std::vector<uint64_t>{2});
  RunToTheEnd();
  EXPECT_EQ(second->ids.size(), 3u);
  EXPECT_THAT(first->ids, IsEmpty());
}

TEST_F(EngineCoreTest, MixesPromptsIntoTheStepOfRunningSequences) {
  Submit(1, {}, 9);
  core_->RunStep();
  Submit(2);
  Submit(3);
  EXPECT_EQ(NextCalls(), "LC");
  EXPECT_EQ(calls_.front().who, (std::vector<uint64_t>{2, 3, 1}));
  EXPECT_EQ(calls_.front().prompts, 2);
  RunToTheEnd();
}

TEST_F(EngineCoreTest, CountsRunningWaitingAndPages) {
  options_.max_running = 1;
  StartCore();
  Submit(1, {}, 60);
  Submit(2);
  EXPECT_EQ(core_->stats().waiting, 2);
  core_->RunStep();
  EXPECT_EQ(core_->stats().running, 1);
  EXPECT_EQ(core_->stats().waiting, 1);
  EXPECT_DOUBLE_EQ(core_->stats().kv_cache_usage, 4.0 / 16);
}

TEST_F(EngineCoreTest, RunsNoMoreThanTheModelHasPlacesFor) {
  facts_.places = 2;
  StartCore();
  for (const uint64_t seed : {1, 2, 3}) Submit(seed);
  core_->RunStep();
  EXPECT_EQ(core_->stats().running, 2);
  RunToTheEnd();
}

TEST_F(EngineCoreTest, RefusesWhatCanNeverFit) {
  const auto sink = Submit(1, {}, 16 * kPageTokens);
  EXPECT_EQ(sink->outcome.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(core_->idle());
}

TEST_F(EngineCoreTest, LeavesNothingOnTheDeviceWhenItEndsEverything) {
  const auto running = Submit(1, {}, 9);
  core_->RunStep();
  const auto seeing = Submit(2, {FakeImage(1)});
  now_ += absl::Seconds(1);
  core_->RunStep();
  EXPECT_EQ(Count(Kind::kPiece), 1);
  core_->EndAll(absl::UnavailableError("draining"));
  for (const auto& sink : {running, seeing}) {
    EXPECT_EQ(sink->outcome.status.code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_TRUE(core_->idle());
  EXPECT_EQ(model_->steps_in_flight(), 0u);
}

}  // namespace
}  // namespace llavamini
