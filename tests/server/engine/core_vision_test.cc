// What becomes of images in EngineCore: batches, pieces, fusion and the cache's tiers.
#include "tests/server/engine/core_fixture.h"

namespace llavamini {
namespace {

using testing::IsEmpty;

class CoreVisionTest : public CoreTest {
 protected:
  // A sequence that runs on.
  void StartRunning() {
    Submit(99, {}, 100);
    core_->RunStep();
    core_->RunStep();
  }
};

TEST_F(CoreVisionTest, SeesAndPrefillsInOneStepWhileNothingRuns) {
  Submit(1, {FakeImage(1)});
  EXPECT_EQ(NextCalls(), "BPPFL");
  RunToTheEnd();
}

TEST_F(CoreVisionTest, RunsPiecesBetweenTheStepsOfOthers) {
  StartRunning();
  Submit(1, {FakeImage(1)});
  EXPECT_EQ(NextCalls(), "BPLC");
  EXPECT_EQ(NextCalls(), "PLC");
  EXPECT_EQ(NextCalls(), "FLC");
  EXPECT_EQ(LastLaunch().prompts, 1);
  RunToTheEnd();
}

TEST_F(CoreVisionTest, PutsPiecesOffForPromptsByOneStep) {
  StartRunning();
  Submit(1, {FakeImage(1)});
  EXPECT_EQ(NextCalls(), "BPLC");
  Submit(2, {FakeImage(2)});
  EXPECT_EQ(NextCalls(), "PLC");
  EXPECT_EQ(NextCalls(), "FBLC");
  EXPECT_EQ(LastLaunch().prompts, 1);
  Submit(3);
  EXPECT_EQ(NextCalls(), "PLC");
  EXPECT_EQ(LastLaunch().prompts, 1);
  RunToTheEnd();
}

TEST_F(CoreVisionTest, PutsPiecesOffForPromptsThoughNoStepCouldBeLaunchedBefore) {
  auto awaited = MakeRequest(99, {}, 100);
  awaited->sampling.repetition_penalty = 1.1F;  // each token is awaited before the next step
  Submit(std::move(awaited));
  EXPECT_EQ(NextCalls(), "L");
  Submit(1, {FakeImage(1)});
  EXPECT_EQ(NextCalls(), "BC");
  Submit(2);
  EXPECT_EQ(NextCalls(), "L");
  EXPECT_EQ(LastLaunch().prompts, 1);
  EXPECT_EQ(NextCalls(), "PLC");
  RunToTheEnd();
}

TEST_F(CoreVisionTest, RunsAsManyPiecesAsFitTwoStepsOfAnIdleServer) {
  behaviour_.pieces = 7;
  behaviour_.step_milliseconds = 3;   // for one row
  behaviour_.piece_milliseconds = 1;  // for one image
  StartCore();
  StartRunning();
  Submit(1, {FakeImage(1)});
  EXPECT_EQ(NextCalls(), "BPPPLC");
  EXPECT_EQ(NextCalls(), "PPPLC");
  EXPECT_EQ(NextCalls(), "PLC");
  EXPECT_EQ(NextCalls(), "FLC");
  RunToTheEnd();
}

TEST_F(CoreVisionTest, EncodesAnImageOfTwoWaitingRequestsOnce) {
  const auto first = Submit(1, {FakeImage(1)});
  const auto second = Submit(2, {FakeImage(1)});
  EXPECT_EQ(NextCalls(), "BPPFL");
  EXPECT_EQ(calls_.front().rows, 1);
  RunToTheEnd();
  EXPECT_EQ(first->outcome.usage.cached_images + second->outcome.usage.cached_images, 0);
  EXPECT_EQ(second->outcome.usage.completion_tokens, 3);
}

TEST_F(CoreVisionTest, JoinsTheEncodingUnderWayEvenWithoutACache) {
  device_cache_bytes_ = 0;
  StartCore();
  StartRunning();
  Submit(1, {FakeImage(1)});
  EXPECT_EQ(NextCalls(), "BPLC");
  const auto late = Submit(2, {FakeImage(1)});
  EXPECT_EQ(NextCalls(), "PLC");
  EXPECT_EQ(NextCalls(), "FLC");
  EXPECT_EQ(LastLaunch().prompts, 2);
  RunToTheEnd();
  EXPECT_EQ(late->outcome.usage.cached_images, 0);
  EXPECT_EQ(model_->images_alive(), 0);
}

TEST_F(CoreVisionTest, TakesAnImageThatAnotherRequestEncodedMeanwhileFromTheCache) {
  Submit(1, {FakeImage(1)});
  core_->RunStep();
  const auto second = Submit(2, {FakeImage(1), FakeImage(2)});
  RunToTheEnd();
  EXPECT_EQ(second->outcome.usage.cached_images, 1);
  EXPECT_EQ(second->outcome.usage.images, 2);
}

TEST_F(CoreVisionTest, LetsImagesGoOnceTheyAreFused) {
  device_cache_bytes_ = 0;
  StartCore();
  Submit(1, {FakeImage(1), FakeImage(2), FakeImage(3)});
  EXPECT_EQ(NextCalls(), "BPPF");
  EXPECT_EQ(model_->images_alive(), 0);
  EXPECT_EQ(model_->prompts_alive(), 1);
  EXPECT_EQ(NextCalls(), "BPPFL");
  EXPECT_EQ(model_->prompts_alive(), 0);
  RunToTheEnd();
}

TEST_F(CoreVisionTest, FusesImagesInTimeOrderThoughTheyAreEncodedByRatio) {
  options_.max_images_per_batch = 3;
  StartCore();
  Submit(1, {FakeImage(1, 1), FakeImage(2, 2), FakeImage(3, 1)});
  EXPECT_EQ(NextCalls(), "BPPF");
  EXPECT_EQ(calls_.front().who, (std::vector<uint64_t>{1, 3}));
  EXPECT_EQ(calls_.back().rows, 1);  // image 3 waits for image 2
  EXPECT_EQ(NextCalls(), "BPPFL");
  EXPECT_EQ(calls_[calls_.size() - 2].rows, 2);
  RunToTheEnd();
}

TEST_F(CoreVisionTest, KeepsFramesOfALongVideoOutOfTheCache) {
  options_.max_images_ahead = 2;
  StartCore();
  Submit(1, {FakeImage(1), FakeImage(2), FakeImage(3)});
  RunToTheEnd();
  EXPECT_EQ(cache_->device_bytes(), 0u);
  Submit(2, {FakeImage(1), FakeImage(2)});
  RunToTheEnd();
  EXPECT_GT(cache_->device_bytes(), 0u);
}

TEST_F(CoreVisionTest, MovesWhatFallsOutOfTheDeviceToTheHostAndBack) {
  device_cache_bytes_ = 2;  // an image of content 1 has two bytes
  host_cache_bytes_ = 100;
  StartCore();
  Submit(1, {FakeImage(1)});
  RunToTheEnd();
  Submit(2, {FakeImage(5)});
  RunToTheEnd();
  EXPECT_EQ(Count(Kind::kMoveToHost), 1);
  EXPECT_EQ(cache_->host_bytes(), 2u);
  const auto again = Submit(3, {FakeImage(1)});
  calls_.clear();
  RunToTheEnd();
  EXPECT_EQ(Count(Kind::kMoveToDevice), 1);
  EXPECT_EQ(Count(Kind::kBeginEncoding), 0);
  EXPECT_EQ(again->outcome.usage.cached_images, 1);
}

TEST_F(CoreVisionTest, MovesAnImageThatWasFoundOnTheHostWhenItWasPrepared) {
  cache_->Insert({1}, std::make_shared<FakeEncodedImage>(7, 1, MakeCensus(), /*on_host=*/true));
  PreparedImage image;
  image.key = {1};
  image.encoded = std::make_shared<FakeEncodedImage>(7, 1, MakeCensus(), /*on_host=*/true);
  const auto sink = Submit(1, {image});
  RunToTheEnd();
  EXPECT_EQ(Count(Kind::kMoveToDevice), 1);
  EXPECT_EQ(sink->outcome.usage.cached_images, 1);
  EXPECT_TRUE(sink->outcome.status.ok());
}

TEST_F(CoreVisionTest, MovesABatchAtATimeBackWhileOthersRun) {
  StartRunning();
  for (const uint64_t seed : {1, 2, 3}) {
    PreparedImage image;
    image.key = {static_cast<uint8_t>(seed)};
    image.encoded = std::make_shared<FakeEncodedImage>(seed, 1, MakeCensus(), /*on_host=*/true);
    Submit(seed, {image});
  }
  EXPECT_EQ(NextCalls(), "FLC");
  EXPECT_EQ(Count(Kind::kMoveToDevice), 2);
  EXPECT_EQ(LastLaunch().prompts, 2);
  EXPECT_EQ(NextCalls(), "FLC");
  EXPECT_EQ(Count(Kind::kMoveToDevice), 1);
  RunToTheEnd();
}

TEST_F(CoreVisionTest, DoesWithoutAHostTierWhereMemoryIsOne) {
  behaviour_.has_host = false;
  device_cache_bytes_ = 2;
  host_cache_bytes_ = 100;
  StartCore();
  for (const uint8_t content : {1, 5, 9}) {
    const auto sink = Submit(content, {FakeImage(content)});
    RunToTheEnd();
    EXPECT_TRUE(sink->outcome.status.ok());
  }
  EXPECT_EQ(cache_->host_bytes(), 0u);
}

TEST_F(CoreVisionTest, GoesOnWhenAnImageCannotBeMovedToTheHost) {
  device_cache_bytes_ = 2;
  host_cache_bytes_ = 100;
  StartCore();
  Fail(Kind::kMoveToHost, absl::ResourceExhaustedError("memory"));
  for (const uint8_t content : {1, 5}) {
    const auto sink = Submit(content, {FakeImage(content)});
    RunToTheEnd();
    EXPECT_TRUE(sink->outcome.status.ok());
  }
  EXPECT_EQ(cache_->host_bytes(), 0u);
}

TEST_F(CoreVisionTest, FinishesAnEncodingThatNobodyWaitsForAnyMore) {
  StartRunning();
  auto request = MakeRequest(1, {FakeImage(1)}, 3);
  const auto cancelled = request->cancelled;
  Submit(std::move(request));
  EXPECT_EQ(NextCalls(), "BPLC");
  cancelled->store(true);
  EXPECT_EQ(NextCalls(), "PLC");
  EXPECT_GT(cache_->device_bytes(), 0u);
  RunToTheEnd();
}

}  // namespace
}  // namespace llavamini
