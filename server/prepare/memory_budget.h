// A bound on the bytes that calls in progress hold together: uploaded files and decoded pictures.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace llavamini {

class MemoryBudget : public std::enable_shared_from_this<MemoryBudget> {
 public:
  static std::shared_ptr<MemoryBudget> Create(int64_t bytes) {
    return std::shared_ptr<MemoryBudget>(new MemoryBudget(bytes));
  }

  // A share of the budget, given back when the last copy goes. Null when not so much is left.
  std::shared_ptr<const void> TryTake(int64_t bytes);

  int64_t free_bytes() const { return free_.load(std::memory_order_relaxed); }

 private:
  explicit MemoryBudget(int64_t bytes) : free_(bytes) {}

  std::atomic<int64_t> free_;
};

}  // namespace llavamini
