#include "server/engine/engine_core.h"

#include <optional>
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/spdlog.h"
#include "tests/server/engine/fake_model.h"
#include "tests/server/engine/fake_tokenizer.h"
#include "tests/server/engine/recording_sink.h"

namespace llavamini {
namespace {

using testing::ElementsAre;
using Kind = FakeCall::Kind;

class ProgressSink : public RecordingSink {
 public:
  void OnProgress(Stage stage, int64_t done, int64_t total) override {
    RecordingSink::OnProgress(stage, done, total);
    progress.emplace_back(stage, done, total);
  }
  std::vector<std::tuple<Stage, int64_t, int64_t>> progress;
};

PreparedImage Image(uint8_t content) {
  PreparedImage image;
  image.key.front() = content;
  image.input = FakeImageInput(content, 1);
  return image;
}

// A core over the fake model; encoding takes 3 s, prefill 5 s, decoding 1 s of virtual time.
class EngineCoreTest : public testing::Test {
 protected:
  EngineCoreTest() {
    spdlog::set_level(spdlog::level::off);
    options_.max_images_per_step = 2;
    options_.clock = [this] { return now_; };
    model_.before_call = [this](const FakeCall& call) {
      calls_.push_back(call);
      now_ += absl::Seconds(call.kind == Kind::kEncode ? 3 : call.kind == Kind::kPrefill ? 5 : 1);
      return fail_ ? fail_(call) : absl::OkStatus();
    };
    StartCore();
  }
  ~EngineCoreTest() override { spdlog::set_level(spdlog::level::info); }

  void StartCore() {
    core_.emplace(options_, &model_, &tokenizer_, &cache_, FakeEndTokens(),
                  std::make_unique<Scheduler>(LimitsOf(options_, model_.facts())));
  }

  std::shared_ptr<ProgressSink> Submit(uint64_t seed, const std::vector<PreparedImage>& images = {},
                                       int64_t max_tokens = 3) {
    auto request = std::make_unique<Request>();
    request->prompt = {1, 2};
    if (!images.empty()) request->prompt.push_back(kImagePlaceholder);
    request->images = images;
    request->sampling.seed = seed;
    request->max_tokens = max_tokens;
    request->wants_progress = true;
    request->admitted = now_;
    request->media_decode = absl::Seconds(7);
    auto sink = std::make_shared<ProgressSink>();
    sink->on_finished = [this, seed] { model_.Release(seed); };
    request->sink = sink;
    core_->Arrive(std::move(request));
    return sink;
  }

  void RunToTheEnd() {
    while (core_->RunStep()) {
    }
    EXPECT_TRUE(core_->idle());
    EXPECT_THAT(model_.complaints(), testing::IsEmpty());
  }

  absl::Time now_ = absl::UnixEpoch();
  EngineOptions options_;
  FakeTokenizer tokenizer_;
  FakeModel model_{FakeFacts(16), FakeEndTokens(), /*end_every=*/0};
  ImageCache cache_{100};
  std::vector<FakeCall> calls_;
  std::function<absl::Status(const FakeCall&)> fail_;
  std::optional<EngineCore> core_;
};

TEST_F(EngineCoreTest, HasNothingToDoWithoutRequests) {
  EXPECT_FALSE(core_->RunStep());
  EXPECT_TRUE(core_->idle());
  EXPECT_EQ(core_->NextDeadline(), absl::InfiniteFuture());
}

TEST_F(EngineCoreTest, TellsHowFarARequestIs) {
  const auto sink = Submit(1, {Image(1), Image(2), Image(3)});
  RunToTheEnd();
  EXPECT_THAT(
      sink->progress,
      ElementsAre(std::tuple(Stage::kQueued, 0, 0), std::tuple(Stage::kEncodingVision, 0, 3),
                  std::tuple(Stage::kEncodingVision, 2, 3),
                  std::tuple(Stage::kEncodingVision, 3, 3), std::tuple(Stage::kPrefill, 0, 5),
                  std::tuple(Stage::kPrefill, 5, 5)));
  EXPECT_THAT(sink->problems, testing::IsEmpty());
}

TEST_F(EngineCoreTest, MeasuresEachStage) {
  const auto first = Submit(1, {}, 1);
  const auto second = Submit(2, {Image(1), Image(2), Image(3)}, 3);
  now_ += absl::Seconds(10);
  RunToTheEnd();
  // First step: two images (3 s) and the first prompt (5 s); second step: the third image and the
  // second prompt.
  const Timings& timings = second->outcome.timings;
  EXPECT_EQ(timings.media_decode, absl::Seconds(7));
  EXPECT_EQ(timings.queue, absl::Seconds(10));
  EXPECT_EQ(timings.vision_encode, absl::Seconds(6));
  EXPECT_EQ(timings.prefill, absl::Seconds(5));
  EXPECT_EQ(timings.first_token, absl::Seconds(10 + 3 + 5 + 3 + 5));
  EXPECT_EQ(timings.total, timings.first_token + absl::Seconds(2));
  EXPECT_EQ(first->outcome.timings.total, absl::Seconds(10 + 3 + 5));
  EXPECT_EQ(first->outcome.timings.vision_encode, absl::ZeroDuration());
}

TEST_F(EngineCoreTest, EncodesAnImageOfTwoWaitingRequestsOnce) {
  const auto first = Submit(1, {Image(1)});
  const auto second = Submit(2, {Image(1)});
  RunToTheEnd();
  EXPECT_EQ(calls_.front().kind, Kind::kEncode);
  EXPECT_EQ(calls_.front().rows, 1);
  EXPECT_EQ(first->outcome.usage.cached_images + second->outcome.usage.cached_images, 0);
  EXPECT_EQ(second->outcome.usage.completion_tokens, 3);
}

TEST_F(EngineCoreTest, TakesAnImageThatAnotherRequestEncodedMeanwhileFromTheCache) {
  const auto first = Submit(1, {Image(1)});
  core_->RunStep();
  const auto second = Submit(2, {Image(1), Image(2)});
  RunToTheEnd();
  EXPECT_EQ(second->outcome.usage.cached_images, 1);
  EXPECT_EQ(second->outcome.usage.images, 2);
}

TEST_F(EngineCoreTest, LetsImagesGoAfterThePrefill) {
  ImageCache none(0);
  core_.emplace(options_, &model_, &tokenizer_, &none, FakeEndTokens(),
                std::make_unique<Scheduler>(LimitsOf(options_, model_.facts())));
  Submit(1, {Image(1), Image(2)});
  core_->RunStep();
  EXPECT_EQ(core_->stats().running, 1);
  EXPECT_EQ(model_.images_alive(), 0);
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

TEST_F(EngineCoreTest, FailsOnlyTheRequestsOfTheBatchThatFailed) {
  const auto running = Submit(1, {}, 5);
  core_->RunStep();
  fail_ = [](const FakeCall& call) {
    return call.kind == Kind::kPrefill ? absl::InvalidArgumentError("?") : absl::OkStatus();
  };
  const auto failing = Submit(2);
  core_->RunStep();
  fail_ = nullptr;
  RunToTheEnd();
  EXPECT_EQ(failing->outcome.status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(failing->outcome.timings.first_token, absl::ZeroDuration());
  EXPECT_TRUE(running->outcome.status.ok());
  EXPECT_EQ(running->ids.size(), 5u);
}

TEST_F(EngineCoreTest, FailsEveryRequestWithAnImageThatCannotBeEncoded) {
  fail_ = [](const FakeCall& call) {
    return call.kind == Kind::kEncode ? absl::InternalError("?") : absl::OkStatus();
  };
  const auto first = Submit(1, {Image(1), Image(2)});
  const auto second = Submit(2, {Image(1)});
  const auto text = Submit(3);
  RunToTheEnd();
  EXPECT_EQ(first->finished, 1);
  EXPECT_EQ(first->outcome.status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(text->outcome.status.ok());
  // The second one's image is encoded in a later step, or fails in this one: two images a step.
  EXPECT_EQ(second->outcome.status.code(), absl::StatusCode::kInternal);
}

TEST_F(EngineCoreTest, TriesEachSequenceAloneWhenMemoryRunsOut) {
  fail_ = [](const FakeCall& call) {
    const bool too_much = call.kind == Kind::kDecode && (call.who.size() > 1 || call.who[0] == 2);
    return too_much ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
  };
  const auto first = Submit(1);
  const auto second = Submit(2);
  const auto third = Submit(3);
  RunToTheEnd();
  EXPECT_TRUE(first->outcome.status.ok());
  EXPECT_EQ(second->outcome.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(third->outcome.status.ok());
}

TEST_F(EngineCoreTest, EndsEverythingWhenTheDeviceIsLost) {
  const auto running = Submit(1);
  core_->RunStep();
  fail_ = [](const FakeCall& call) {
    return call.kind == Kind::kEncode ? absl::AbortedError("lost") : absl::OkStatus();
  };
  const auto encoding = Submit(2, {Image(1)});
  const auto waiting = Submit(3);
  core_->RunStep();
  EXPECT_TRUE(core_->device_lost());
  EXPECT_TRUE(core_->idle());
  EXPECT_EQ(calls_.back().kind, Kind::kEncode);  // nothing was tried after it
  const auto late = Submit(4);
  for (const auto& sink : {running, encoding, waiting, late}) {
    EXPECT_EQ(sink->finished, 1);
    EXPECT_EQ(sink->outcome.status.code(), absl::StatusCode::kUnavailable);
  }
}

TEST_F(EngineCoreTest, RefusesWhatCanNeverFit) {
  const auto sink = Submit(1, {}, 16 * kPageTokens);
  EXPECT_EQ(sink->outcome.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(core_->idle());
}

}  // namespace
}  // namespace llavamini
