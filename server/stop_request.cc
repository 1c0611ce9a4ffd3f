#include "server/stop_request.h"

#include <pthread.h>

#include <csignal>
#include <cstdlib>

#include "absl/time/clock.h"
#include "server/exit_code.h"

namespace llavamini {
namespace {

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void StopRequest::Raise(int exit_code) {
  absl::MutexLock lock(&mutex_);
  if (!exit_code_) exit_code_ = exit_code;
}

int StopRequest::Wait() {
  absl::MutexLock lock(&mutex_);
  const auto raised = [](std::optional<int>* code) { return code->has_value(); };
  mutex_.Await(absl::Condition(+raised, &exit_code_));
  return *exit_code_;
}

void BlockStopSignals() {
  const sigset_t set = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void ExitLatest(absl::Duration delay, int exit_code) {
  std::thread([=] {
    absl::SleepFor(delay);
    std::_Exit(exit_code);
  }).detach();
}

SignalWatcher::SignalWatcher(StopRequest* stop) : stop_(stop) {
  thread_ = std::thread([this] { Watch(); });
}

SignalWatcher::~SignalWatcher() {
  ended_.store(true);
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

void SignalWatcher::Watch() {
  const sigset_t set = WatchedSignals();
  bool asked = false;
  int signal = 0;
  while (sigwait(&set, &signal) == 0) {
    if (ended_.load()) return;
    if (asked) std::_Exit(128 + signal);
    if (!serving_.load()) std::_Exit(kExitOk);
    asked = true;
    stop_->Raise(kExitOk);
  }
}

}  // namespace llavamini
