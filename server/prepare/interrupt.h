// Whether work on a call is still wanted. Read by the thread that works on it, set by any.
#pragma once

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace llavamini {

using CancelFlag = std::shared_ptr<std::atomic<bool>>;

struct Interrupt {
  CancelFlag cancelled;
  absl::Time deadline = absl::InfiniteFuture();

  // OK, CANCELLED or DEADLINE_EXCEEDED.
  absl::Status Check() const {
    if (cancelled->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
    if (absl::Now() >= deadline) return absl::DeadlineExceededError("the deadline has passed");
    return absl::OkStatus();
  }
};

}  // namespace llavamini
