// Ctrl-C: ends the answer in progress; where there is none, the program, with kExitInterrupted.
#pragma once

#include <grpcpp/client_context.h>

#include <atomic>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace llavamini::client {

// Make it first of all in main(): it blocks SIGINT for the calling thread and every thread started
// later, and waits for it on a thread of its own, because a signal handler could not cancel a call.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // While it lives, Ctrl-C cancels this call, or does what it is told: on the waiting thread, as
  // often as it is pressed. One at a time.
  class Scope {
   public:
    Scope(Interrupts* interrupts, grpc::ClientContext* context);
    Scope(Interrupts* interrupts, std::function<void()> interrupt);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    bool interrupted() const;

   private:
    Interrupts* const interrupts_;
  };

 private:
  void Watch();

  mutable absl::Mutex mutex_;
  std::function<void()> interrupt_ ABSL_GUARDED_BY(mutex_);
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<bool> ending_ = false;
  std::thread watcher_;
};

}  // namespace llavamini::client
