#include "server/engine/page_pool.h"

#include <numeric>

#include "server/engine/check.h"

namespace llavamini {

PagePool::PagePool(int32_t pages) : free_(pages), taken_(pages, false) {
  std::iota(free_.rbegin(), free_.rend(), 0);
}

std::vector<int32_t> PagePool::Take(int32_t count) {
  Check(count >= 0 && count <= available(), "no more pages are taken than are free");
  std::vector<int32_t> pages(free_.rbegin(), free_.rbegin() + count);
  free_.resize(free_.size() - count);
  for (const int32_t page : pages) taken_[page] = true;
  return pages;
}

void PagePool::Return(absl::Span<const int32_t> pages) {
  for (const int32_t page : pages) {
    Check(page >= 0 && page < total() && taken_[page], "a page is returned once, by who took it");
    taken_[page] = false;
    free_.push_back(page);
  }
}

}  // namespace llavamini
