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

class FakeEncoding final : public Encoding {
 public:
  FakeEncoding(FakeModel& model, size_t count) : model_(model), count_(count) {}
  int pieces_left() const override { return done_ ? 0 : 1; }
  absl::Status RunPiece() override {
    absl::MutexLock lock(&model_.mutex_);
    model_.WaitWhile(&model_.held_);
    model_.encoded_images_ += static_cast<int64_t>(count_);
    done_ = true;
    return absl::OkStatus();
  }
  std::vector<EncodedImagePtr> images() const override {
    std::vector<EncodedImagePtr> images;
    for (size_t i = 0; i < count_; ++i) images.push_back(std::make_shared<FakeImage>());
    return images;
  }

 private:
  FakeModel& model_;
  const size_t count_;
  bool done_ = false;
};

FakeModel::FakeModel(int32_t pages, std::vector<TokenId> words) : words_(std::move(words)) {
  facts_.device = "cpu";
  facts_.dtype = "float32";
  facts_.vocab_size = 1000;
  facts_.parameters = 12345;
  facts_.max_position = 131072;
  facts_.pages = pages;
  facts_.places = 64;
  facts_.max_images = 8;
  facts_.steps_ahead = 1;
}

absl::StatusOr<std::unique_ptr<Encoding>> FakeModel::BeginEncoding(
    absl::Span<const ImageInput* const> images) {
  return std::make_unique<FakeEncoding>(*this, images.size());
}

absl::StatusOr<EncodedImagePtr> FakeModel::MoveToHost(const EncodedImagePtr&) {
  return absl::UnimplementedError("there is one memory");
}

absl::StatusOr<EncodedImagePtr> FakeModel::MoveToDevice(const EncodedImagePtr&) {
  return absl::UnimplementedError("there is one memory");
}

absl::StatusOr<std::unique_ptr<FusedPrompt>> FakeModel::BeginFusion(absl::Span<const TokenId>,
                                                                    int64_t) {
  return std::make_unique<FusedPrompt>();
}

absl::Status FakeModel::Launch(absl::Span<const PromptRow> prompts,
                               absl::Span<const DecodeRow> rows) {
  absl::MutexLock lock(&mutex_);
  if (!prompts.empty() && !fail_next_.ok()) return std::exchange(fail_next_, absl::OkStatus());
  StepInFlight step;
  step.decodes = !rows.empty();
  decode_steps_ += step.decodes ? 1 : 0;
  for (const PromptRow& row : prompts) step.tokens.push_back(Sample(*row.sampling, 0));
  for (const DecodeRow& row : rows) step.tokens.push_back(Sample(*row.sampling, row.token_index));
  in_flight_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SampledToken>> FakeModel::Collect() {
  absl::MutexLock lock(&mutex_);
  WaitWhile(&held_);
  const StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (step.decodes) {
    WaitWhile(&decoding_held_);
    if (step_time_ > absl::ZeroDuration()) absl::SleepFor(step_time_);
  }
  return step.tokens;
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

SampledToken FakeModel::Sample(const SamplingParams& sampling, int64_t index) {
  SampledToken sampled;
  const bool end = index >= answer_length_;
  sampled.token.id = end ? kEnd : words_[static_cast<size_t>(index) % words_.size()];
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
