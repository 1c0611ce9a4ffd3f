// The fake model's memory: a shadow of the key-value pages and of the places, and what is chosen
// from it. Complains about every page or place that two sequences use, row that is read before it
// is written, and token that is asked for before its time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.h"

namespace llavamini {

struct FakeVocabulary {
  int64_t size = 0;
  std::vector<TokenId> end_tokens;
  uint64_t end_every = 0;  // they come up about once in so many tokens; 0: never
};

class FakeStore {
 public:
  FakeStore(const ModelFacts& facts, FakeVocabulary vocabulary);

  // Writes a prompt, of which `rows` are hashes, and chooses its first token.
  SampledToken Prefill(const PromptRow& row, const std::vector<uint64_t>& rows);
  // needs_answer: the answer so far plays a part.
  SampledToken Decode(const DecodeRow& row, bool needs_answer);

  void Release(uint64_t seed);
  int64_t pages_owned() const;

  void Complain(const std::string& complaint);
  const std::vector<std::string>& complaints() const { return complaints_; }

 private:
  struct Slot {
    uint64_t owner = 0;  // seed of the sequence that wrote it; 0: nobody
    uint64_t value = 0;
  };
  struct PlaceState {
    uint64_t owner = 0;  // seed; 0: free
    std::vector<int32_t> pages;
    size_t rows_written = 0;
    std::vector<TokenId> answer;  // chosen so far
  };

  bool TakePlace(const PromptRow& row);
  bool MayDecode(const DecodeRow& row, bool needs_answer);
  bool Exists(Place place) const {
    return place >= 0 && place < static_cast<Place>(places_.size());
  }
  bool Fits(absl::Span<const int32_t> pages, size_t rows) const;
  Slot& SlotAt(absl::Span<const int32_t> pages, size_t row);
  // What the sequence's rows before `row` say together.
  uint64_t ReadBefore(const PlaceState& place, size_t row);
  SampledToken Sample(const SamplingParams& sampling, uint64_t value) const;

  const FakeVocabulary vocabulary_;
  std::vector<uint64_t> page_owner_;  // seed, 0: free
  std::vector<Slot> slots_;           // kPageTokens per page
  std::vector<PlaceState> places_;
  std::vector<std::string> complaints_;
};

}  // namespace llavamini
