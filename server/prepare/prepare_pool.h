// A fixed number of threads that prepare calls, behind a bounded queue. Thread-safe.
#pragma once

#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace llavamini {

class PreparePool {
 public:
  using Job = absl::AnyInvocable<void()>;

  PreparePool(int threads, int max_queue);
  ~PreparePool();  // runs what is queued, then joins

  // Never blocks. False, with `job` left to the caller, when the queue is full.
  bool TrySubmit(Job& job);

 private:
  void Work();
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); }

  const size_t max_queue_;
  absl::Mutex mutex_;
  std::deque<Job> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace llavamini
