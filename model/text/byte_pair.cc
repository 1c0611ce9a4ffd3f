#include "model/text/byte_pair.h"

#include <algorithm>
#include <cstdint>

namespace llavamini {

bool BytePairMerger::IsAfter(const Candidate& a, const Candidate& b) {
  return a.merge.rank != b.merge.rank ? a.merge.rank > b.merge.rank : a.position > b.position;
}

void BytePairMerger::Offer(size_t left) {
  const size_t right = symbols_[left].next;
  if (right == kNone) return;
  if (const auto merge = vocabulary_.FindMerge(symbols_[left].id, symbols_[right].id)) {
    heap_.push_back({*merge, left});
    std::push_heap(heap_.begin(), heap_.end(), IsAfter);
  }
}

void BytePairMerger::Apply(const Candidate& candidate) {
  Symbol& left = symbols_[candidate.position];
  if (left.dead || left.next == kNone) return;
  Symbol& right = symbols_[left.next];
  // Since it was offered, the pair may have become another one.
  const auto now = vocabulary_.FindMerge(left.id, right.id);
  if (!now || now->merged != candidate.merge.merged) return;
  left.id = now->merged;
  left.next = right.next;
  right.dead = true;
  if (left.next != kNone) symbols_[left.next].previous = candidate.position;
  if (left.previous != kNone) Offer(left.previous);
  Offer(candidate.position);
}

void BytePairMerger::Append(std::string_view piece, std::vector<TokenId>* ids) {
  symbols_.clear();
  heap_.clear();
  for (size_t i = 0; i < piece.size(); ++i) {
    symbols_.push_back({vocabulary_.OfByte(static_cast<uint8_t>(piece[i])), i == 0 ? kNone : i - 1,
                        i + 1 == piece.size() ? kNone : i + 1, false});
  }
  for (size_t i = 0; i < symbols_.size(); ++i) Offer(i);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), IsAfter);
    const Candidate candidate = heap_.back();
    heap_.pop_back();
    Apply(candidate);
  }
  for (const Symbol& symbol : symbols_) {
    if (!symbol.dead) ids->push_back(symbol.id);
  }
}

}  // namespace llavamini
