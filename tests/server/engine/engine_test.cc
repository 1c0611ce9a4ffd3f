// The engine with its thread. Nothing here depends on how fast the machine is: what must happen is
// waited for.
#include "server/engine/engine.h"

#include <sys/resource.h>

#include <atomic>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/spdlog.h"
#include "tests/server/engine/fake_model.h"
#include "tests/server/engine/fake_tokenizer.h"
#include "tests/server/engine/recording_sink.h"

namespace llavamini {
namespace {

// A sink that other threads may wait for.
class WaitableSink : public AnswerSink {
 public:
  void OnProgress(Stage, int64_t, int64_t) override { NoteThread(); }
  void OnDelta(Delta) override {
    NoteThread();
    if (!first_token.HasBeenNotified()) first_token.Notify();
  }
  void OnFinished(const Outcome& outcome) override {
    NoteThread();
    status = outcome.status;
    ++finished;
    if (!ended.HasBeenNotified()) ended.Notify();
  }
  absl::StatusCode WaitForEnd() {
    ended.WaitForNotification();
    return status.code();
  }
  std::set<std::thread::id> threads() {
    absl::MutexLock lock(&mutex_);
    return threads_;
  }

  absl::Notification first_token, ended;
  absl::Status status;  // once ended
  std::atomic<int> finished = 0;

 private:
  void NoteThread() {
    absl::MutexLock lock(&mutex_);
    threads_.insert(std::this_thread::get_id());
  }
  absl::Mutex mutex_;
  std::set<std::thread::id> threads_ ABSL_GUARDED_BY(mutex_);
};

constexpr int64_t kEndless = 300'000;  // tokens: longer than any test waits

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    spdlog::set_level(spdlog::level::off);
    options_.max_running = 2;
    options_.max_waiting = 3;
    MakeEngine();
  }
  ~EngineTest() override { spdlog::set_level(spdlog::level::info); }

  void MakeEngine() { engine_.emplace(options_, &model_, &tokenizer_, &cache_, FakeEndTokens()); }

  // Ended requests' pages are reused, so the fake must hear of the end: each sink tells it.
  class ReleasingSink : public WaitableSink {
   public:
    ReleasingSink(FakeModel& model, uint64_t seed) : model_(model), seed_(seed) {}
    void OnFinished(const Outcome& outcome) override {
      model_.Release(seed_);
      WaitableSink::OnFinished(outcome);
    }

   private:
    FakeModel& model_;
    const uint64_t seed_;
  };

  std::unique_ptr<Request> MakeRequest(int64_t max_tokens) {
    const uint64_t seed = ++last_seed_;
    auto request = std::make_unique<Request>();
    request->prompt = {1, 2, 3};
    request->sampling.seed = seed;
    request->max_tokens = max_tokens;
    request->admitted = absl::Now();
    request->cancelled = std::make_shared<std::atomic<bool>>(false);
    request->sink = std::make_shared<ReleasingSink>(model_, seed);
    return request;
  }

  static std::shared_ptr<WaitableSink> SinkOf(const Request& request) {
    return std::dynamic_pointer_cast<WaitableSink>(request.sink);
  }

  std::shared_ptr<WaitableSink> Submit(int64_t max_tokens) {
    auto request = MakeRequest(max_tokens);
    auto sink = SinkOf(*request);
    EXPECT_TRUE(engine_->TrySubmit(request));
    EXPECT_EQ(request, nullptr);
    return sink;
  }

  std::shared_ptr<WaitableSink> SubmitWhenThereIsRoom(std::unique_ptr<Request> request) {
    auto sink = SinkOf(*request);
    while (!engine_->TrySubmit(request)) engine_->WaitIdle(absl::Now() + absl::Milliseconds(1));
    return sink;
  }

  std::atomic<uint64_t> last_seed_ = 0;
  EngineOptions options_;
  FakeTokenizer tokenizer_;
  FakeModel model_{FakeFacts(40'000), {.end_tokens = FakeEndTokens()}};
  ImageCache cache_{100};
  std::optional<Engine> engine_;
};

TEST_F(EngineTest, AnswersFromItsOwnThreadAlone) {
  engine_->Start();
  const auto first = Submit(5);
  const auto second = Submit(7);
  EXPECT_EQ(first->WaitForEnd(), absl::StatusCode::kOk);
  EXPECT_EQ(second->WaitForEnd(), absl::StatusCode::kOk);
  EXPECT_EQ(first->threads().size(), 1u);
  EXPECT_EQ(first->threads(), second->threads());
  EXPECT_FALSE(first->threads().contains(std::this_thread::get_id()));
}

TEST_F(EngineTest, EndsAnAnswerThatAnotherThreadCancels) {
  engine_->Start();
  auto request = MakeRequest(kEndless);
  const auto sink = SinkOf(*request);
  const auto cancelled = request->cancelled;
  ASSERT_TRUE(engine_->TrySubmit(request));
  sink->first_token.WaitForNotification();
  cancelled->store(true);
  engine_->Wake();
  EXPECT_EQ(sink->WaitForEnd(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(engine_->WaitIdle(absl::InfiniteFuture()));
  EXPECT_EQ(engine_->stats().running, 0);
  EXPECT_EQ(engine_->stats().kv_cache_usage, 0);
}

TEST_F(EngineTest, EndsAnAnswerAtItsDeadline) {
  engine_->Start();
  auto request = MakeRequest(kEndless);
  request->deadline = absl::Now() + absl::Milliseconds(30);
  const auto sink = SinkOf(*request);
  ASSERT_TRUE(engine_->TrySubmit(request));
  EXPECT_EQ(sink->WaitForEnd(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(EngineTest, LeavesTheRequestToTheCallerWhenTheQueueIsFull) {
  absl::Notification entered, go;
  model_.before_call = [&](const FakeCall&) {
    if (!entered.HasBeenNotified()) entered.Notify();
    go.WaitForNotification();
    return absl::OkStatus();
  };
  engine_->Start();
  std::vector<std::shared_ptr<WaitableSink>> taken = {Submit(3)};
  entered
      .WaitForNotification();  // the first one runs: it waits no more, but its step has not ended
  taken.push_back(Submit(3));
  taken.push_back(Submit(3));
  auto refused = MakeRequest(3);
  EXPECT_FALSE(engine_->TrySubmit(refused));
  ASSERT_NE(refused, nullptr);
  EXPECT_EQ(refused->max_tokens, 3);
  EXPECT_EQ(engine_->stats().waiting, 3);
  go.Notify();
  for (const auto& sink : taken) EXPECT_EQ(sink->WaitForEnd(), absl::StatusCode::kOk);
  EXPECT_TRUE(engine_->WaitIdle(absl::InfiniteFuture()));
  EXPECT_TRUE(engine_->TrySubmit(refused));
  EXPECT_TRUE(engine_->WaitIdle(absl::InfiniteFuture()));
}

TEST_F(EngineTest, IsIdleWhenEverythingHasEnded) {
  engine_->Start();
  EXPECT_TRUE(engine_->WaitIdle(absl::InfinitePast()));
  const auto endless = Submit(kEndless);
  EXPECT_FALSE(engine_->WaitIdle(absl::Now() + absl::Milliseconds(5)));
  engine_->Stop(absl::UnavailableError("draining"));
  EXPECT_TRUE(engine_->WaitIdle(absl::InfinitePast()));
}

TEST_F(EngineTest, WaitsUntilRunningAnswersHaveEnded) {
  engine_->Start();
  const auto sink = Submit(300);
  EXPECT_TRUE(engine_->WaitIdle(absl::InfiniteFuture()));
  EXPECT_EQ(sink->finished, 1);
}

TEST_F(EngineTest, EndsEverythingOnceWhenStopped) {
  engine_->Start();
  std::vector<std::shared_ptr<WaitableSink>> sinks;
  for (int i = 0; i < 2; ++i) {
    sinks.push_back(Submit(kEndless));
    sinks.back()->first_token.WaitForNotification();
  }
  for (int i = 0; i < 3; ++i) sinks.push_back(SubmitWhenThereIsRoom(MakeRequest(kEndless)));
  std::thread other([this] { engine_->Stop(absl::UnavailableError("draining")); });
  engine_->Stop(absl::UnavailableError("draining"));
  other.join();
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->finished, 1);
    EXPECT_EQ(sink->WaitForEnd(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(sink->threads(), sinks[0]->threads());
  }
  auto late = MakeRequest(1);
  EXPECT_FALSE(engine_->TrySubmit(late));
  EXPECT_NE(late, nullptr);
}

TEST_F(EngineTest, CancelsWhatRunsWhenDestroyed) {
  engine_->Start();
  const auto sink = Submit(kEndless);
  engine_.reset();
  EXPECT_EQ(sink->finished, 1);
  EXPECT_EQ(sink->WaitForEnd(), absl::StatusCode::kCancelled);
}

TEST_F(EngineTest, EndsWhatWasSubmittedBeforeAStartThatNeverCame) {
  const auto sink = Submit(1);
  engine_->Stop(absl::UnavailableError("draining"));
  EXPECT_EQ(sink->finished, 1);
  EXPECT_EQ(sink->WaitForEnd(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, SaysOnceThatTheDeviceIsLost) {
  std::atomic<int> told = 0;
  absl::Notification lost;
  options_.on_device_lost = [&] {
    if (++told == 1) lost.Notify();
  };
  MakeEngine();
  model_.before_call = [](const FakeCall& call) {
    return call.kind == FakeCall::Kind::kCollect ? absl::AbortedError("lost") : absl::OkStatus();
  };
  engine_->Start();
  const auto sink = Submit(9);
  lost.WaitForNotification();
  EXPECT_EQ(sink->WaitForEnd(), absl::StatusCode::kUnavailable);
  auto late = MakeRequest(1);
  EXPECT_FALSE(engine_->TrySubmit(late));
  engine_->Stop(absl::CancelledError("over"));
  EXPECT_EQ(told, 1);
}

TEST_F(EngineTest, AnswersManyThreadsThatSubmitAndCancel) {
  engine_->Start();
  constexpr int kThreads = 4;
  std::vector<std::vector<std::shared_ptr<WaitableSink>>> sinks(kThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, &mine = sinks[thread]] {
      for (int i = 0; i < 100; ++i) {
        auto request = MakeRequest(i % 3 == 0 ? kEndless : i % 20 + 1);
        const auto cancelled = request->cancelled;
        const auto sink = SubmitWhenThereIsRoom(std::move(request));
        if (i % 3 == 0) cancelled->store(true);
        engine_->Wake();
        mine.push_back(sink);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(engine_->WaitIdle(absl::InfiniteFuture()));
  engine_->Stop(absl::CancelledError("over"));
  for (const auto& mine : sinks) {
    for (const auto& sink : mine) EXPECT_EQ(sink->finished, 1);
  }
  EXPECT_THAT(model_.complaints(), testing::IsEmpty());
}

TEST_F(EngineTest, UsesNoProcessorTimeWhenIdle) {
  engine_->Start();
  Submit(3)->WaitForEnd();
  ASSERT_TRUE(engine_->WaitIdle(absl::InfiniteFuture()));
  const auto processor_time = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
  };
  const absl::Duration before = processor_time();
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_LT(processor_time() - before, absl::Milliseconds(30));
}

}  // namespace
}  // namespace llavamini
