#include "tests/server/rpc/fake_model.h"

#include <utility>

#include "absl/time/clock.h"

namespace llavamini {
namespace {

class FakeImage final : public EncodedImage {
 public:
  size_t bytes() const override { return 1000; }
};

}  // namespace

FakeModel::FakeModel(int32_t pages, std::vector<TokenId> words) : words_(std::move(words)) {
  facts_.device = "cpu";
  facts_.dtype = "float32";
  facts_.vocab_size = 1000;
  facts_.parameters = 12345;
  facts_.max_position = 131072;
  facts_.pages = pages;
}

absl::StatusOr<std::vector<EncodedImagePtr>> FakeModel::EncodeImages(
    absl::Span<const ImageInput* const> images) {
  absl::MutexLock lock(&mutex_);
  WaitWhile(&held_);
  std::vector<EncodedImagePtr> encoded;
  for (size_t i = 0; i < images.size(); ++i) encoded.push_back(std::make_shared<FakeImage>());
  encoded_images_ += static_cast<int64_t>(images.size());
  return encoded;
}

absl::StatusOr<std::vector<SampledToken>> FakeModel::Prefill(absl::Span<const PromptRow> prompts) {
  absl::MutexLock lock(&mutex_);
  WaitWhile(&held_);
  if (!fail_next_.ok()) return std::exchange(fail_next_, absl::OkStatus());
  std::vector<SampledToken> tokens;
  for (const PromptRow& row : prompts) tokens.push_back(Sample(*row.sampling, 0));
  return tokens;
}

absl::StatusOr<std::vector<SampledToken>> FakeModel::Decode(absl::Span<const DecodeRow> rows) {
  absl::MutexLock lock(&mutex_);
  WaitWhile(&held_);
  WaitWhile(&decoding_held_);
  ++decode_steps_;
  if (step_time_ > absl::ZeroDuration()) absl::SleepFor(step_time_);
  std::vector<SampledToken> tokens;
  for (const DecodeRow& row : rows) tokens.push_back(Sample(*row.sampling, row.answer.size()));
  return tokens;
}

void FakeModel::SetAnswerLength(int64_t tokens) {
  absl::MutexLock lock(&mutex_);
  answer_length_ = tokens;
}

void FakeModel::Hold() {
  absl::MutexLock lock(&mutex_);
  held_ = true;
}

void FakeModel::HoldDecoding() {
  absl::MutexLock lock(&mutex_);
  decoding_held_ = true;
}

void FakeModel::Release() {
  absl::MutexLock lock(&mutex_);
  decoding_held_ = false;
  held_ = false;
}

void FakeModel::SetStepTime(absl::Duration time) {
  absl::MutexLock lock(&mutex_);
  step_time_ = time;
}

void FakeModel::FailNext(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  fail_next_ = std::move(status);
}

int64_t FakeModel::decode_steps() const {
  absl::MutexLock lock(&mutex_);
  return decode_steps_;
}

int64_t FakeModel::encoded_images() const {
  absl::MutexLock lock(&mutex_);
  return encoded_images_;
}

SampledToken FakeModel::Sample(const SamplingParams& sampling, size_t index) {
  SampledToken sampled;
  const bool end = static_cast<int64_t>(index) >= answer_length_;
  sampled.token.id = end ? kEnd : words_[index % words_.size()];
  if (sampling.logprobs) {
    sampled.token.logprob = -0.5f;
    for (int32_t i = 0; i < sampling.top_logprobs; ++i) sampled.top.push_back({i, -1.0f});
  }
  return sampled;
}

void FakeModel::WaitWhile(bool* held) {
  const auto free = [](bool* flag) { return !*flag; };
  mutex_.Await(absl::Condition(+free, held));
}

}  // namespace llavamini
