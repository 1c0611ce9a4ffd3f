// A model without mathematics: each token is a hash of (seed, prompt, images, answer so far), read
// back through the page table, so that any mix-up of pages, order, images or neighbours changes the
// answer. It keeps a shadow of the key-value store and complains about every page that two
// sequences use, row that is read before it is written, and call that breaks model.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"

namespace llavamini {

// A well mixed hash of two numbers.
uint64_t Mix(uint64_t a, uint64_t b);

// An input whose pixels are only a number.
std::shared_ptr<const ImageInput> FakeImageInput(uint64_t content, int resolution_ratio);

// What the fake makes of an image.
class FakeEncodedImage : public EncodedImage {
 public:
  FakeEncodedImage(uint64_t content, size_t bytes, std::shared_ptr<std::atomic<int64_t>> alive);
  ~FakeEncodedImage() override;
  size_t bytes() const override { return bytes_; }
  uint64_t content() const { return content_; }

 private:
  const uint64_t content_;
  const size_t bytes_;
  const std::shared_ptr<std::atomic<int64_t>> alive_;
};

// One call, as told to whoever listens: an image's content or a sequence's sampling seed per row.
struct FakeCall {
  enum class Kind { kEncode, kPrefill, kDecode };
  Kind kind;
  std::vector<uint64_t> who;
  int64_t rows;  // of the language model; images when encoding
};

// Facts of a model with this many pages.
ModelFacts FakeFacts(int32_t pages);

class FakeModel : public Model {
 public:
  // end_tokens come up about once in `end_every` tokens (0: never).
  FakeModel(ModelFacts facts, std::vector<TokenId> end_tokens, uint64_t end_every);

  const ModelFacts& facts() const override { return facts_; }
  absl::StatusOr<std::vector<EncodedImagePtr>> EncodeImages(
      absl::Span<const ImageInput* const> images) override;
  absl::StatusOr<std::vector<SampledToken>> Prefill(absl::Span<const PromptRow> prompts) override;
  absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) override;

  // Asked before each call: its failure is the call's, which then does nothing.
  std::function<absl::Status(const FakeCall&)> before_call;

  // The sequence with this sampling seed has ended: whoever uses its pages from now on must write
  // them first.
  void Release(uint64_t seed);

  const std::vector<std::string>& complaints() const { return complaints_; }
  int64_t images_alive() const { return *images_alive_; }
  int64_t pages_owned() const;

 private:
  struct Slot {
    uint64_t owner = 0;  // seed of the sequence that wrote it; 0: nobody
    uint64_t value = 0;
  };

  absl::Status Ask(FakeCall call);
  void Complain(const std::string& complaint);
  void ClaimPages(const PromptRow& row, size_t length);
  bool Fits(absl::Span<const int32_t> pages, size_t rows);
  Slot& SlotAt(absl::Span<const int32_t> pages, size_t row);
  // What the sequence's rows before `row` say together.
  uint64_t ReadBefore(absl::Span<const int32_t> pages, size_t row, uint64_t seed);
  SampledToken Sample(const SamplingParams& sampling, uint64_t value) const;
  std::vector<uint64_t> RowsOf(const PromptRow& prompt);

  const ModelFacts facts_;
  const std::vector<TokenId> end_tokens_;
  const uint64_t end_every_;
  std::vector<uint64_t> page_owner_;         // seed, 0: free
  std::vector<Slot> slots_;                  // kPageTokens per page
  std::map<uint64_t, size_t> rows_written_;  // by seed
  std::vector<std::string> complaints_;
  std::shared_ptr<std::atomic<int64_t>> images_alive_;
};

}  // namespace llavamini
