#include "tests/server/engine/fake_model.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "tests/server/engine/fake_tokenizer.h"

namespace llavamini {
namespace {

constexpr size_t kMaxComplaints = 20;

uint64_t ContentOf(const ImageInput& input) {
  uint64_t content = 0;
  std::memcpy(&content, input.parts.data(), sizeof(content));
  return content;
}

}  // namespace

uint64_t Mix(uint64_t a, uint64_t b) {  // splitmix64's finaliser
  uint64_t x = a * 0x9E3779B97F4A7C15u + b + 0x632BE59BD9B4E019u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::shared_ptr<const ImageInput> FakeImageInput(uint64_t content, int resolution_ratio) {
  auto input = std::make_shared<ImageInput>();
  input->resolution_ratio = resolution_ratio;
  input->parts.resize(sizeof(content));
  std::memcpy(input->parts.data(), &content, sizeof(content));
  return input;
}

FakeEncodedImage::FakeEncodedImage(uint64_t content, size_t bytes,
                                   std::shared_ptr<std::atomic<int64_t>> alive)
    : content_(content), bytes_(bytes), alive_(std::move(alive)) {
  ++*alive_;
}

FakeEncodedImage::~FakeEncodedImage() { --*alive_; }

ModelFacts FakeFacts(int32_t pages) {
  ModelFacts facts;
  facts.vocab_size = kFakeVocabulary;
  facts.pages = pages;
  return facts;
}

FakeModel::FakeModel(ModelFacts facts, std::vector<TokenId> end_tokens, uint64_t end_every)
    : facts_(std::move(facts)),
      end_tokens_(std::move(end_tokens)),
      end_every_(end_every),
      page_owner_(facts_.pages),
      slots_(static_cast<size_t>(facts_.pages) * kPageTokens),
      images_alive_(std::make_shared<std::atomic<int64_t>>(0)) {}

absl::StatusOr<std::vector<EncodedImagePtr>> FakeModel::EncodeImages(
    absl::Span<const ImageInput* const> images) {
  FakeCall call{FakeCall::Kind::kEncode, {}, static_cast<int64_t>(images.size())};
  for (const ImageInput* image : images) {
    if (image->resolution_ratio != images[0]->resolution_ratio) Complain("resolution ratios mixed");
    call.who.push_back(ContentOf(*image));
  }
  if (absl::Status status = Ask(std::move(call)); !status.ok()) return status;
  std::vector<EncodedImagePtr> encoded;
  for (const ImageInput* image : images) {
    const uint64_t content = ContentOf(*image);
    const size_t bytes = 1 + content % 4;
    encoded.push_back(std::make_shared<FakeEncodedImage>(Mix(content, image->resolution_ratio),
                                                         bytes, images_alive_));
  }
  return encoded;
}

absl::StatusOr<std::vector<SampledToken>> FakeModel::Prefill(absl::Span<const PromptRow> prompts) {
  FakeCall call{FakeCall::Kind::kPrefill, {}, 0};
  std::vector<std::vector<uint64_t>> rows;
  for (const PromptRow& prompt : prompts) {
    rows.push_back(RowsOf(prompt));
    call.rows += static_cast<int64_t>(rows.back().size());
    call.who.push_back(prompt.sampling->seed);
  }
  if (absl::Status status = Ask(std::move(call)); !status.ok()) return status;
  std::vector<SampledToken> sampled;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const PromptRow& prompt = prompts[i];
    uint64_t before = 0;
    uint64_t value = 0;
    ClaimPages(prompt, rows[i].size());
    if (!Fits(prompt.pages, rows[i].size())) {
      Complain("a prompt is longer than its pages");
      rows[i].clear();
    }
    for (size_t row = 0; row < rows[i].size(); ++row) {
      value = Mix(before, rows[i][row]);
      SlotAt(prompt.pages, row) = {prompt.sampling->seed, value};
      before = Mix(before, value);
    }
    sampled.push_back(Sample(*prompt.sampling, value));
  }
  return sampled;
}

absl::StatusOr<std::vector<SampledToken>> FakeModel::Decode(absl::Span<const DecodeRow> rows) {
  FakeCall call{FakeCall::Kind::kDecode, {}, static_cast<int64_t>(rows.size())};
  for (const DecodeRow& row : rows) call.who.push_back(row.sampling->seed);
  if (absl::Status status = Ask(std::move(call)); !status.ok()) return status;
  std::vector<SampledToken> sampled;
  for (const DecodeRow& row : rows) {
    const uint64_t seed = row.sampling->seed;
    const auto position = static_cast<size_t>(row.position);
    uint64_t value = 0;
    if (row.position < 0 || position != rows_written_[seed]) {
      Complain("a position is not the number of rows written");
    } else if (row.answer.empty()) {
      Complain("no token to feed");
    } else if (!Fits(row.pages, position + 1)) {
      Complain("an answer is longer than its pages");
    } else {
      value = Mix(ReadBefore(row.pages, position, seed), Mix(1, row.answer.back()));
      SlotAt(row.pages, position) = {seed, value};
      ++rows_written_[seed];
    }
    sampled.push_back(Sample(*row.sampling, value));
  }
  return sampled;
}

void FakeModel::Release(uint64_t seed) {
  for (size_t page = 0; page < page_owner_.size(); ++page) {
    if (page_owner_[page] != seed) continue;
    page_owner_[page] = 0;
    std::fill_n(slots_.begin() + static_cast<std::ptrdiff_t>(page) * kPageTokens, kPageTokens,
                Slot{});
  }
  rows_written_.erase(seed);
}

int64_t FakeModel::pages_owned() const {
  return std::count_if(page_owner_.begin(), page_owner_.end(), [](uint64_t o) { return o != 0; });
}

absl::Status FakeModel::Ask(FakeCall call) {
  if (call.who.empty()) Complain("an empty batch");
  if (std::set<uint64_t>(call.who.begin(), call.who.end()).size() != call.who.size()) {
    Complain("a row stands twice in a batch");
  }
  return before_call ? before_call(call) : absl::OkStatus();
}

void FakeModel::Complain(const std::string& complaint) {
  if (complaints_.size() < kMaxComplaints) complaints_.push_back(complaint);
}

void FakeModel::ClaimPages(const PromptRow& row, size_t length) {
  if (rows_written_.contains(row.sampling->seed)) Complain("a prompt is prefilled twice");
  rows_written_[row.sampling->seed] = length;
  for (const int32_t page : row.pages) {
    if (page < 0 || page >= facts_.pages) {
      Complain("no such page");
    } else if (page_owner_[page] != 0) {
      Complain("a page has two owners");
    } else {
      page_owner_[page] = row.sampling->seed;
    }
  }
}

bool FakeModel::Fits(absl::Span<const int32_t> pages, size_t rows) {
  const bool exist = std::all_of(pages.begin(), pages.end(),
                                 [this](int32_t page) { return page >= 0 && page < facts_.pages; });
  return exist && rows <= pages.size() * kPageTokens;
}

FakeModel::Slot& FakeModel::SlotAt(absl::Span<const int32_t> pages, size_t row) {
  return slots_[static_cast<size_t>(pages[row / kPageTokens]) * kPageTokens + row % kPageTokens];
}

uint64_t FakeModel::ReadBefore(absl::Span<const int32_t> pages, size_t row, uint64_t seed) {
  uint64_t before = 0;
  for (size_t i = 0; i < row; ++i) {
    const Slot& slot = SlotAt(pages, i);
    if (slot.owner == 0) Complain("a row is read before it is written");
    if (slot.owner != 0 && slot.owner != seed) Complain("a row of another sequence is read");
    before = Mix(before, slot.value);
  }
  return before;
}

SampledToken FakeModel::Sample(const SamplingParams& sampling, uint64_t value) const {
  const uint64_t hash = Mix(sampling.seed, value);
  SampledToken sampled;
  sampled.token.id = static_cast<TokenId>((hash >> 32) % static_cast<uint64_t>(facts_.vocab_size));
  if (end_every_ != 0 && hash % end_every_ == 0) {
    sampled.token.id = end_tokens_[(hash >> 16) % end_tokens_.size()];
  } else if (std::find(end_tokens_.begin(), end_tokens_.end(), sampled.token.id) !=
             end_tokens_.end()) {
    sampled.token.id = 0;
  }
  sampled.token.logprob = -1.0F - static_cast<float>(hash % 1000) / 100.0F;
  return sampled;
}

std::vector<uint64_t> FakeModel::RowsOf(const PromptRow& prompt) {
  std::vector<uint64_t> rows;
  for (const TokenId id : prompt.prompt) {
    if (id != kImagePlaceholder) {
      rows.push_back(Mix(1, id));
      continue;
    }
    for (const EncodedImagePtr& image : prompt.images) {
      const auto* fake = dynamic_cast<const FakeEncodedImage*>(image.get());
      if (fake == nullptr) Complain("an image is missing");
      for (int32_t i = 0; fake != nullptr && i < facts_.tokens_per_image; ++i) {
        rows.push_back(Mix(fake->content(), i));
      }
    }
  }
  return rows;
}

}  // namespace llavamini
