// A fixed number of threads that prepare calls, behind a bounded queue. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <list>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"

namespace llavamini {

class PreparePool {
 public:
  using Job = absl::AnyInvocable<void()>;

  PreparePool(int threads, int max_queue);
  ~PreparePool();  // runs what is queued, then joins

  // Never blocks. False, with `job` left to the caller, when the queue is full.
  bool TrySubmit(Job& job);

  // Calls part(0) to part(count - 1), begun in this order, on the calling thread and on those of
  // the pool that have no job; returns when all have ended. What one throws is thrown again here,
  // and no more are begun.
  void ForEach(int64_t count, absl::FunctionRef<void(int64_t)> part);

 private:
  // A call of ForEach; under mutex_, the part itself excepted.
  struct Parts {
    absl::FunctionRef<void(int64_t)> part;
    int64_t count = 0;
    int64_t begun = 0;
    int64_t ended = 0;
    std::exception_ptr failure = nullptr;
    bool all_begun() const { return begun == count; }
    bool all_ended() const { return all_begun() && ended == count; }
  };

  void Work();
  void RunNext(Parts& parts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !queue_.empty() || !shared_.empty();
  }

  const size_t max_queue_;
  absl::Mutex mutex_;
  std::deque<Job> queue_ ABSL_GUARDED_BY(mutex_);
  std::list<Parts*> shared_ ABSL_GUARDED_BY(mutex_);  // with parts to begin, oldest first
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace llavamini
