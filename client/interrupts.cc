#include "client/interrupts.h"

#include <signal.h>
#include <unistd.h>

#include <utility>

#include "client/exit_code.h"

namespace llavamini::client {
namespace {

// Wakes the watching thread for the end of the program.
constexpr int kEndSignal = SIGUSR1;

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, kEndSignal);
  return signals;
}

}  // namespace

Interrupts::Interrupts() {
  const sigset_t signals = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  watcher_ = std::thread([this] { Watch(); });
}

Interrupts::~Interrupts() {
  ending_ = true;
  pthread_kill(watcher_.native_handle(), kEndSignal);
  watcher_.join();
}

void Interrupts::Watch() {
  const sigset_t signals = WatchedSignals();
  int signal = 0;
  while (sigwait(&signals, &signal) == 0) {
    if (ending_) return;
    if (signal != SIGINT) continue;
    absl::MutexLock lock(&mutex_);
    if (!interrupt_) _exit(kExitInterrupted);
    interrupted_ = true;
    interrupt_();
  }
}

Interrupts::Scope::Scope(Interrupts* interrupts, grpc::ClientContext* context)
    : Scope(interrupts, [context] { context->TryCancel(); }) {}

Interrupts::Scope::Scope(Interrupts* interrupts, std::function<void()> interrupt)
    : interrupts_(interrupts) {
  absl::MutexLock lock(&interrupts_->mutex_);
  interrupts_->interrupt_ = std::move(interrupt);
  interrupts_->interrupted_ = false;
}

Interrupts::Scope::~Scope() {
  absl::MutexLock lock(&interrupts_->mutex_);
  interrupts_->interrupt_ = nullptr;
}

bool Interrupts::Scope::interrupted() const {
  absl::MutexLock lock(&interrupts_->mutex_);
  return interrupts_->interrupted_;
}

}  // namespace llavamini::client
