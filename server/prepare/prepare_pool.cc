#include "server/prepare/prepare_pool.h"

#include <utility>

namespace llavamini {

PreparePool::PreparePool(int threads, int max_queue) : max_queue_(static_cast<size_t>(max_queue)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

PreparePool::~PreparePool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool PreparePool::TrySubmit(Job& job) {
  absl::MutexLock lock(&mutex_);
  if (stopping_ || queue_.size() >= max_queue_) return false;
  queue_.push_back(std::move(job));
  return true;
}

void PreparePool::ForEach(int64_t count, absl::FunctionRef<void(int64_t)> part) {
  Parts parts{.part = part, .count = count};
  if (count == 0) return;
  absl::MutexLock lock(&mutex_);
  if (count > 1) shared_.push_back(&parts);
  while (!parts.all_begun()) RunNext(parts);
  mutex_.Await(absl::Condition(&parts, &Parts::all_ended));
  if (parts.failure) std::rethrow_exception(parts.failure);
}

// Gives the lock away while the part runs; a new job has not to wait for more than one.
void PreparePool::RunNext(Parts& parts) {
  const int64_t number = parts.begun++;
  if (parts.all_begun()) shared_.remove(&parts);
  mutex_.Unlock();
  std::exception_ptr failure;
  try {
    parts.part(number);
  } catch (...) {
    failure = std::current_exception();
  }
  mutex_.Lock();
  ++parts.ended;
  if (!failure) return;
  parts.failure = failure;
  parts.count = parts.begun;
  shared_.remove(&parts);
}

void PreparePool::Work() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(this, &PreparePool::HasWork));
    if (!queue_.empty()) {
      Job job = std::move(queue_.front());
      queue_.pop_front();
      mutex_.Unlock();
      std::move(job)();
      job = nullptr;
      mutex_.Lock();
    } else if (!shared_.empty()) {
      RunNext(*shared_.front());
    } else {
      return;
    }
  }
}

}  // namespace llavamini
