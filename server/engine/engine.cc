#include "server/engine/engine.h"

#include <algorithm>
#include <cstddef>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/engine_core.h"

namespace llavamini {
namespace {

std::unique_ptr<Scheduler> MakeScheduler(const EngineOptions& options, const Model& model) {
  return std::make_unique<Scheduler>(LimitsOf(options, model.facts()));
}

}  // namespace

class Engine::Impl {
 public:
  Impl(const EngineOptions& options, Model* model, const Tokenizer* tokenizer, ImageCache* cache,
       std::vector<TokenId> end_tokens)
      : on_device_lost_(options.on_device_lost),
        core_(options, model, tokenizer, cache, std::move(end_tokens),
              MakeScheduler(options, *model)),
        room_(core_.room()) {}

  void Start() {
    absl::MutexLock lock(&thread_mutex_);
    thread_ = std::thread([this] { Run(); });
  }

  bool TrySubmit(std::unique_ptr<Request>& request) {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || room_ <= static_cast<int64_t>(inbox_.size())) return false;
    inbox_.push_back(std::move(request));
    return true;
  }

  void Wake() {
    absl::MutexLock lock(&mutex_);
    woken_ = true;
  }

  bool WaitIdle(absl::Time deadline) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithDeadline(absl::Condition(this, &Impl::Idle), deadline);
  }

  void Stop(const absl::Status& reason) {
    BeginStopping(reason);
    absl::MutexLock lock(&thread_mutex_);
    if (thread_.joinable()) {
      thread_.join();
    } else {
      EndEverything();  // never started, or stopped before
    }
  }

  EngineStats stats() const {
    absl::MutexLock lock(&mutex_);
    EngineStats stats = stats_;
    stats.waiting += static_cast<int64_t>(inbox_.size());
    return stats;
  }

 private:
  using Arrivals = std::vector<std::unique_ptr<Request>>;

  void Run() {
    bool worked = true;
    Arrivals arrivals;
    while (!core_.device_lost() && TakeArrivals(/*wait=*/!worked, arrivals)) {
      for (std::unique_ptr<Request>& request : arrivals) core_.Arrive(std::move(request));
      worked = core_.RunStep();
      Publish();
    }
    if (core_.device_lost()) BeginStopping(absl::UnavailableError("the device is lost"));
    EndEverything();
    if (core_.device_lost() && on_device_lost_) on_device_lost_();
  }

  // Waits, if told to, until there is a reason for a step. False when the engine is stopping.
  bool TakeArrivals(bool wait, Arrivals& arrivals) {
    arrivals.clear();
    absl::MutexLock lock(&mutex_);
    if (wait) mutex_.AwaitWithDeadline(absl::Condition(this, &Impl::HasNews), core_.NextDeadline());
    woken_ = false;
    if (stopping_) return false;
    arrivals.swap(inbox_);
    room_ -= static_cast<int64_t>(arrivals.size());
    stats_.waiting += static_cast<int64_t>(arrivals.size());
    idle_ = idle_ && arrivals.empty();
    return true;
  }

  void Publish() {
    absl::MutexLock lock(&mutex_);
    room_ = core_.room();
    stats_ = core_.stats();
    idle_ = core_.idle();
  }

  void BeginStopping(const absl::Status& reason) {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    stopping_ = true;
    stop_reason_ = reason;
  }

  void EndEverything() {
    Arrivals arrivals;
    absl::Status reason;
    {
      absl::MutexLock lock(&mutex_);
      arrivals.swap(inbox_);
      reason = stop_reason_;
      idle_ = idle_ && arrivals.empty();
    }
    for (std::unique_ptr<Request>& request : arrivals) core_.Arrive(std::move(request));
    core_.EndAll(reason);
    Publish();
  }

  bool HasNews() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || woken_ || !inbox_.empty();
  }
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return idle_ && inbox_.empty(); }

  const std::function<void()> on_device_lost_;
  EngineCore core_;  // the thread's alone while it runs

  mutable absl::Mutex mutex_;
  Arrivals inbox_ ABSL_GUARDED_BY(mutex_);
  int64_t room_ ABSL_GUARDED_BY(mutex_);  // requests that the core would take, as of its last step
  bool idle_ ABSL_GUARDED_BY(mutex_) = true;  // of the core
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status stop_reason_ ABSL_GUARDED_BY(mutex_);

  absl::Mutex thread_mutex_;
  std::thread thread_ ABSL_GUARDED_BY(thread_mutex_);
};

Engine::Engine(const EngineOptions& options, Model* model, const Tokenizer* tokenizer,
               ImageCache* cache, std::vector<TokenId> eos_token_ids)
    : impl_(std::make_unique<Impl>(options, model, tokenizer, cache, std::move(eos_token_ids))) {}

Engine::~Engine() { Stop(absl::CancelledError("the engine is stopping")); }

void Engine::Start() { impl_->Start(); }
bool Engine::TrySubmit(std::unique_ptr<Request>& request) { return impl_->TrySubmit(request); }
void Engine::Wake() { impl_->Wake(); }
bool Engine::WaitIdle(absl::Time deadline) { return impl_->WaitIdle(deadline); }
void Engine::Stop(const absl::Status& reason) { impl_->Stop(reason); }
EngineStats Engine::stats() const { return impl_->stats(); }

}  // namespace llavamini
