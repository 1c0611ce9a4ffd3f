// A core over the fake model, in virtual time: for the tests of EngineCore.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine_core.h"
#include "spdlog/spdlog.h"
#include "tests/server/engine/fake_model.h"
#include "tests/server/engine/fake_tokenizer.h"
#include "tests/server/engine/recording_sink.h"

namespace llavamini {

class ProgressSink : public RecordingSink {
 public:
  void OnProgress(Stage stage, int64_t done, int64_t total) override {
    RecordingSink::OnProgress(stage, done, total);
    progress.emplace_back(stage, done, total);
  }
  std::vector<std::tuple<Stage, int64_t, int64_t>> progress;
};

inline PreparedImage FakeImage(uint8_t content, int resolution_ratio = 1) {
  PreparedImage image;
  image.key = {content, static_cast<uint8_t>(resolution_ratio)};
  image.input = FakeImageInput(content, resolution_ratio);
  return image;
}

// Beginning an encoding takes 1 s of virtual time, each of its two pieces 1 s, a step 5 s with
// prompts and 1 s without, counted when it is collected.
class CoreTest : public testing::Test {
 protected:
  using Kind = FakeCall::Kind;

  CoreTest() {
    spdlog::set_level(spdlog::level::off);
    options_.max_images_per_batch = 2;
    options_.clock = [this] { return now_; };
    behaviour_.end_tokens = FakeEndTokens();
    behaviour_.pieces = 2;
    StartCore();
  }
  ~CoreTest() override { spdlog::set_level(spdlog::level::info); }

  // Anew, with what options_, facts_, behaviour_ and cache bytes say now.
  void StartCore() {
    core_.reset();
    cache_.emplace(device_cache_bytes_, host_cache_bytes_);
    model_.emplace(facts_, behaviour_);
    model_->before_call = [this](const FakeCall& call) {
      calls_.push_back(call);
      now_ += absl::Seconds(SecondsOf(call));
      return fail_ ? fail_(call) : absl::OkStatus();
    };
    core_.emplace(options_, &*model_, &tokenizer_, &*cache_, FakeEndTokens(),
                  std::make_unique<Scheduler>(LimitsOf(options_, facts_)));
  }

  static int64_t SecondsOf(const FakeCall& call) {
    if (call.kind == Kind::kCollect) return call.prompts > 0 ? 5 : 1;
    return call.kind == Kind::kBeginEncoding || call.kind == Kind::kPiece ? 1 : 0;
  }

  static std::unique_ptr<Request> MakeRequest(uint64_t seed,
                                              const std::vector<PreparedImage>& images,
                                              int64_t max_tokens) {
    auto request = std::make_unique<Request>();
    request->prompt = {1, static_cast<TokenId>(seed)};
    if (!images.empty()) request->prompt.push_back(kImagePlaceholder);
    request->images = images;
    request->sampling.seed = seed;
    request->max_tokens = max_tokens;
    request->wants_progress = true;
    request->cancelled = std::make_shared<std::atomic<bool>>(false);
    request->media_decode = absl::Seconds(7);
    return request;
  }

  std::shared_ptr<ProgressSink> Submit(std::unique_ptr<Request> request) {
    auto sink = std::make_shared<ProgressSink>();
    sink->on_finished = [this, seed = request->sampling.seed] { model_->Release(seed); };
    request->admitted = now_;
    request->sink = sink;
    core_->Arrive(std::move(request));
    return sink;
  }

  std::shared_ptr<ProgressSink> Submit(uint64_t seed, const std::vector<PreparedImage>& images = {},
                                       int64_t max_tokens = 3) {
    return Submit(MakeRequest(seed, images, max_tokens));
  }

  void RunToTheEnd() {
    while (core_->RunStep()) {
    }
    EXPECT_TRUE(core_->idle());
    EXPECT_THAT(model_->complaints(), testing::IsEmpty());
    EXPECT_EQ(model_->steps_in_flight(), 0u);
    EXPECT_EQ(model_->prompts_alive(), 0);
  }

  // What the next RunStep calls, one letter each: Begin encoding, Piece, Fuse, Launch, Collect.
  std::string NextCalls() {
    calls_.clear();
    core_->RunStep();
    std::string letters;
    for (const FakeCall& call : calls_) {
      if (call.kind == Kind::kBeginEncoding) letters += 'B';
      if (call.kind == Kind::kPiece) letters += 'P';
      if (call.kind == Kind::kFuse) letters += 'F';
      if (call.kind == Kind::kLaunch) letters += 'L';
      if (call.kind == Kind::kCollect) letters += 'C';
    }
    return letters;
  }

  const FakeCall& LastLaunch() const {
    return *std::find_if(calls_.rbegin(), calls_.rend(),
                         [](const FakeCall& call) { return call.kind == Kind::kLaunch; });
  }

  int64_t Count(Kind kind) const {
    return std::count_if(calls_.begin(), calls_.end(),
                         [kind](const FakeCall& call) { return call.kind == kind; });
  }

  // Fails calls of this kind.
  void Fail(Kind kind, const absl::Status& status) {
    fail_ = [kind, status](const FakeCall& call) {
      return call.kind == kind ? status : absl::OkStatus();
    };
  }

  absl::Time now_ = absl::UnixEpoch();
  EngineOptions options_;
  ModelFacts facts_ = FakeFacts(16);
  FakeBehaviour behaviour_;
  size_t device_cache_bytes_ = 100, host_cache_bytes_ = 0;
  FakeTokenizer tokenizer_;
  std::optional<ImageCache> cache_;
  std::optional<FakeModel> model_;
  std::vector<FakeCall> calls_;
  std::function<absl::Status(const FakeCall&)> fail_;
  std::optional<EngineCore> core_;
};

}  // namespace llavamini
