#include "tests/server/engine/fake_store.h"

#include <algorithm>
#include <utility>

#include "tests/server/engine/fake_images.h"

namespace llavamini {
namespace {

constexpr size_t kMaxComplaints = 20;

}  // namespace

FakeStore::FakeStore(const ModelFacts& facts, FakeVocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)),
      page_owner_(facts.pages),
      slots_(static_cast<size_t>(facts.pages) * kPageTokens),
      places_(facts.places) {}

SampledToken FakeStore::Prefill(const PromptRow& row, const std::vector<uint64_t>& rows) {
  const uint64_t seed = row.sampling->seed;
  uint64_t before = 0;
  uint64_t value = 0;
  if (TakePlace(row)) {
    if (!Fits(row.pages, rows.size())) {
      Complain("a prompt is longer than its pages");
    } else {
      for (size_t i = 0; i < rows.size(); ++i) {
        value = Mix(before, rows[i]);
        SlotAt(row.pages, i) = {seed, value};
        before = Mix(before, value);
      }
      places_[row.place].rows_written = rows.size();
    }
  }
  SampledToken sampled = Sample(*row.sampling, value);
  if (Exists(row.place)) {
    places_[row.place].answer = {sampled.token.id};
  }
  return sampled;
}

// False, with a complaint, when there is no such place or it is another's.
bool FakeStore::TakePlace(const PromptRow& row) {
  const uint64_t seed = row.sampling->seed;
  if (!Exists(row.place)) {
    Complain("no such place");
    return false;
  }
  PlaceState& place = places_[row.place];
  if (place.owner != 0) {
    Complain(place.owner == seed ? "a prompt is prefilled twice" : "a place has two owners");
    return false;
  }
  place = {seed, {row.pages.begin(), row.pages.end()}, 0, {}};
  for (const int32_t page : row.pages) {
    if (page < 0 || page >= static_cast<int32_t>(page_owner_.size())) {
      Complain("no such page");
    } else if (page_owner_[page] != 0) {
      Complain("a page has two owners");
    } else {
      page_owner_[page] = seed;
    }
  }
  return true;
}

SampledToken FakeStore::Decode(const DecodeRow& row, bool needs_answer) {
  if (!MayDecode(row, needs_answer)) return Sample(*row.sampling, 0);
  PlaceState& place = places_[row.place];
  uint64_t value = Mix(ReadBefore(place, place.rows_written),
                       Mix(1, static_cast<uint64_t>(place.answer.back())));
  SlotAt(place.pages, place.rows_written++) = {place.owner, value};
  if (needs_answer) value = Mix(value, FakePromptName(row.answer));
  SampledToken sampled = Sample(*row.sampling, value);
  place.answer.push_back(sampled.token.id);
  return sampled;
}

bool FakeStore::MayDecode(const DecodeRow& row, bool needs_answer) {
  std::string complaint;
  if (!Exists(row.place)) {
    Complain("no such place");
    return false;
  }
  const PlaceState& place = places_[row.place];
  if (place.owner != row.sampling->seed) {
    complaint = "a place of another sequence is fed";
  } else if (row.position < 0 || static_cast<size_t>(row.position) != place.rows_written) {
    complaint = "a position is not the number of rows written";
  } else if (row.token_index != static_cast<int64_t>(place.answer.size())) {
    complaint = "an index is not the number of tokens chosen";
  } else if (!Fits(place.pages, place.rows_written + 1)) {
    complaint = "an answer is longer than its pages";
  } else if (needs_answer && row.answer != absl::MakeConstSpan(place.answer)) {
    complaint = "a step needs a token that is not collected";
  }
  if (!complaint.empty()) Complain(complaint);
  return complaint.empty();
}

bool FakeStore::Fits(absl::Span<const int32_t> pages, size_t rows) const {
  const bool exist = std::all_of(pages.begin(), pages.end(), [this](int32_t page) {
    return page >= 0 && page < static_cast<int32_t>(page_owner_.size());
  });
  return exist && rows <= pages.size() * kPageTokens;
}

FakeStore::Slot& FakeStore::SlotAt(absl::Span<const int32_t> pages, size_t row) {
  return slots_[static_cast<size_t>(pages[row / kPageTokens]) * kPageTokens + row % kPageTokens];
}

uint64_t FakeStore::ReadBefore(const PlaceState& place, size_t row) {
  uint64_t before = 0;
  for (size_t i = 0; i < row; ++i) {
    const Slot& slot = SlotAt(place.pages, i);
    if (slot.owner == 0) Complain("a row is read before it is written");
    if (slot.owner != 0 && slot.owner != place.owner) Complain("a row of another sequence is read");
    before = Mix(before, slot.value);
  }
  return before;
}

SampledToken FakeStore::Sample(const SamplingParams& sampling, uint64_t value) const {
  const uint64_t hash = Mix(sampling.seed, value);
  SampledToken sampled;
  sampled.token.id = static_cast<TokenId>((hash >> 32) % static_cast<uint64_t>(vocabulary_.size));
  const std::vector<TokenId>& ends = vocabulary_.end_tokens;
  if (vocabulary_.end_every != 0 && hash % vocabulary_.end_every == 0) {
    sampled.token.id = ends[(hash >> 16) % ends.size()];
  } else if (std::find(ends.begin(), ends.end(), sampled.token.id) != ends.end()) {
    sampled.token.id = 0;
  }
  sampled.token.logprob = -1.0F - static_cast<float>(hash % 1000) / 100.0F;
  return sampled;
}

void FakeStore::Release(uint64_t seed) {
  for (PlaceState& place : places_) {
    if (place.owner != seed) continue;
    for (const int32_t page : place.pages) {
      if (page < 0 || page >= static_cast<int32_t>(page_owner_.size()) ||
          page_owner_[page] != seed) {
        continue;
      }
      page_owner_[page] = 0;
      std::fill_n(slots_.begin() + static_cast<std::ptrdiff_t>(page) * kPageTokens, kPageTokens,
                  Slot{});
    }
    place = PlaceState();
  }
}

int64_t FakeStore::pages_owned() const {
  return std::count_if(page_owner_.begin(), page_owner_.end(), [](uint64_t o) { return o != 0; });
}

void FakeStore::Complain(const std::string& complaint) {
  if (complaints_.size() < kMaxComplaints) complaints_.push_back(complaint);
}

}  // namespace llavamini
