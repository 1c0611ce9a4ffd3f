// The free pages of the key-value cache, by number. Plain data: used by the scheduler alone, on the
// engine's thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace llavamini {

class PagePool {
 public:
  explicit PagePool(int32_t pages);

  int32_t total() const { return static_cast<int32_t>(taken_.size()); }
  int32_t available() const { return static_cast<int32_t>(free_.size()); }

  // `count` is at most available(). The pages' contents are whatever their last user left.
  std::vector<int32_t> Take(int32_t count);

  // Each page must be one that Take gave and that was not returned since.
  void Return(absl::Span<const int32_t> pages);

 private:
  std::vector<int32_t> free_;  // the last one is taken first
  std::vector<bool> taken_;    // by page
};

}  // namespace llavamini
