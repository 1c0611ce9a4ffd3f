// The merging of byte-pair encoding: one piece of text in, its tokens out. Keeps its working memory
// from piece to piece: one per call of Tokenizer::Encode, not shared between threads.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "model/text/vocabulary.h"

namespace llavamini {

class BytePairMerger {
 public:
  explicit BytePairMerger(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  // Appends the tokens of `piece`: from single bytes on, the pair of lowest rank is merged first,
  // of equal ones the leftmost. O(n log n) for n bytes.
  void Append(std::string_view piece, std::vector<TokenId>* ids);

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  // A linked list over positions; a symbol that was merged into its left neighbour is dead.
  struct Symbol {
    TokenId id = 0;
    size_t previous = kNone, next = kNone;
    bool dead = false;
  };
  struct Candidate {
    Merge merge;
    size_t position = 0;  // of the left symbol
  };
  static bool IsAfter(const Candidate& a, const Candidate& b);

  void Offer(size_t left);
  void Apply(const Candidate& candidate);

  const Vocabulary& vocabulary_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace llavamini
