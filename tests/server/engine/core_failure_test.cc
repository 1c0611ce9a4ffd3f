// What becomes of requests in EngineCore when calls of the model fail.
#include "tests/server/engine/core_fixture.h"

namespace llavamini {
namespace {

using testing::IsEmpty;

class CoreFailureTest : public CoreTest {
 protected:
  static absl::StatusCode CodeOf(const std::shared_ptr<ProgressSink>& sink) {
    EXPECT_EQ(sink->finished, 1);
    return sink->outcome.status.code();
  }
};

TEST_F(CoreFailureTest, FailsTheRequestsOfAStepThatCannotBeLaunched) {
  const auto running = Submit(1, {}, 5);
  core_->RunStep();
  Fail(Kind::kLaunch, absl::InvalidArgumentError("?"));
  const auto joining = Submit(2);
  core_->RunStep();
  fail_ = nullptr;
  const auto later = Submit(3);
  RunToTheEnd();
  EXPECT_EQ(CodeOf(running), absl::StatusCode::kInternal);
  EXPECT_EQ(CodeOf(joining), absl::StatusCode::kInternal);
  EXPECT_EQ(joining->outcome.timings.first_token, absl::ZeroDuration());
  EXPECT_TRUE(later->outcome.status.ok());
}

TEST_F(CoreFailureTest, FailsTheRequestsOfAStepThatCannotBeCollected) {
  const auto first = Submit(1);
  core_->RunStep();
  const auto second = Submit(2);
  Fail(Kind::kCollect, absl::InternalError("?"));
  core_->RunStep();  // launches both, collects the first one's prefill
  fail_ = nullptr;
  RunToTheEnd();
  EXPECT_EQ(CodeOf(first), absl::StatusCode::kInternal);
  EXPECT_THAT(first->ids, IsEmpty());
  EXPECT_TRUE(second->outcome.status.ok());
  EXPECT_EQ(second->ids.size(), 3u);
}

TEST_F(CoreFailureTest, TriesSequencesAndEachPromptAloneWhenMemoryRunsOut) {
  const auto first = Submit(1, {}, 9);
  const auto second = Submit(2, {}, 9);
  core_->RunStep();
  fail_ = [](const FakeCall& call) {
    const bool too_much =
        call.kind == Kind::kLaunch && call.prompts > 0 && (call.who.size() > 1 || call.who[0] == 4);
    return too_much ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
  };
  const auto third = Submit(3);
  const auto fourth = Submit(4);
  core_->RunStep();
  EXPECT_EQ(Count(Kind::kLaunch), 1 + 4);
  RunToTheEnd();
  for (const auto& sink : {first, second}) EXPECT_EQ(sink->ids.size(), 9u);
  EXPECT_EQ(third->ids.size(), 3u);
  EXPECT_EQ(CodeOf(fourth), absl::StatusCode::kResourceExhausted);
}

TEST_F(CoreFailureTest, TriesEachSequenceAloneWhenMemoryRunsOutForThemTogether) {
  fail_ = [](const FakeCall& call) {
    const bool too_much = call.kind == Kind::kLaunch && call.prompts == 0 &&
                          (call.who.size() > 1 || call.who[0] == 2);
    return too_much ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
  };
  const auto first = Submit(1);
  const auto second = Submit(2);
  const auto third = Submit(3);
  RunToTheEnd();
  EXPECT_TRUE(first->outcome.status.ok());
  EXPECT_EQ(CodeOf(second), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(third->outcome.status.ok());
}

TEST_F(CoreFailureTest, FailsEveryRequestWithAnImageThatCannotBeEncoded) {
  for (const Kind kind : {Kind::kBeginEncoding, Kind::kPiece}) {
    StartCore();
    Fail(kind, absl::InternalError("?"));
    const auto first = Submit(1, {FakeImage(1), FakeImage(2), FakeImage(3)});
    const auto second = Submit(2, {FakeImage(1)});
    const auto text = Submit(3);
    RunToTheEnd();
    EXPECT_EQ(CodeOf(first), absl::StatusCode::kInternal);
    EXPECT_EQ(CodeOf(second), absl::StatusCode::kInternal);
    EXPECT_TRUE(text->outcome.status.ok());
  }
}

TEST_F(CoreFailureTest, EncodesImagesAloneWhenMemoryRunsOutForABatch) {
  fail_ = [](const FakeCall& call) {
    const bool too_much = call.kind == Kind::kPiece && (call.who.size() > 1 || call.who[0] == 2);
    return too_much ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
  };
  const auto first = Submit(1, {FakeImage(1)});
  const auto second = Submit(2, {FakeImage(2)});
  RunToTheEnd();
  EXPECT_TRUE(first->outcome.status.ok());
  EXPECT_EQ(CodeOf(second), absl::StatusCode::kResourceExhausted);
}

TEST_F(CoreFailureTest, FusesImagesAloneWhenMemoryRunsOutForAllTogether) {
  const auto prepared = MakeRequest(2, {FakeImage(2)}, 3);
  const uint64_t too_large = FakePromptName(prepared->prompt);
  fail_ = [too_large](const FakeCall& call) {
    const bool too_much = call.kind == Kind::kFuse && (call.rows > 1 || call.who[0] == too_large);
    return too_much ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
  };
  const auto first = Submit(1, {FakeImage(1)});
  const auto second = Submit(2, {FakeImage(2)});
  RunToTheEnd();
  EXPECT_TRUE(first->outcome.status.ok());
  EXPECT_EQ(CodeOf(second), absl::StatusCode::kResourceExhausted);
}

TEST_F(CoreFailureTest, FailsARequestWhoseFusionOrImageFails) {
  for (const Kind kind : {Kind::kBeginFusion, Kind::kFuse}) {
    StartCore();
    Fail(kind, absl::UnknownError("?"));
    const auto seeing = Submit(1, {FakeImage(1)});
    const auto text = Submit(2);
    RunToTheEnd();
    EXPECT_EQ(CodeOf(seeing), absl::StatusCode::kInternal);
    EXPECT_TRUE(text->outcome.status.ok());
  }
}

TEST_F(CoreFailureTest, FailsARequestWhoseImageCannotBeMovedToTheDevice) {
  Fail(Kind::kMoveToDevice, absl::ResourceExhaustedError("memory"));
  PreparedImage image;
  image.encoded = std::make_shared<FakeEncodedImage>(7, 1, MakeCensus(), /*on_host=*/true);
  const auto seeing = Submit(1, {image});
  RunToTheEnd();
  EXPECT_EQ(CodeOf(seeing), absl::StatusCode::kResourceExhausted);
}

TEST_F(CoreFailureTest, EndsEverythingWhenTheDeviceIsLostInAnyCall) {
  device_cache_bytes_ = 0;
  host_cache_bytes_ = 100;  // so that every image is moved
  for (const Kind kind : {Kind::kBeginEncoding, Kind::kPiece, Kind::kMoveToHost, Kind::kBeginFusion,
                          Kind::kFuse, Kind::kLaunch, Kind::kCollect}) {
    fail_ = nullptr;
    StartCore();
    const auto running = Submit(1, {}, 9);
    core_->RunStep();
    Fail(kind, absl::AbortedError("lost"));
    const auto seeing = Submit(2, {FakeImage(1)});
    const auto waiting = Submit(3);
    while (!core_->device_lost()) {
      now_ += absl::Seconds(1);
      ASSERT_TRUE(core_->RunStep());
    }
    EXPECT_EQ(calls_.back().kind, kind);  // nothing was tried after it
    EXPECT_TRUE(core_->idle());
    const auto late = Submit(4);
    for (const auto& sink : {running, seeing, waiting, late}) {
      EXPECT_EQ(CodeOf(sink), absl::StatusCode::kUnavailable);
    }
    EXPECT_EQ(model_->prompts_alive(), 0);
  }
}

}  // namespace
}  // namespace llavamini
