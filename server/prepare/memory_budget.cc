#include "server/prepare/memory_budget.h"

namespace llavamini {

std::shared_ptr<const void> MemoryBudget::TryTake(int64_t bytes) {
  int64_t left = free_.load(std::memory_order_relaxed);
  do {
    if (bytes > left) return nullptr;
  } while (!free_.compare_exchange_weak(left, left - bytes, std::memory_order_relaxed));
  return std::shared_ptr<const void>(this, [budget = shared_from_this(), bytes](const void*) {
    budget->free_.fetch_add(bytes, std::memory_order_relaxed);
  });
}

}  // namespace llavamini
