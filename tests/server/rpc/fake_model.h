// A model without mathematics: its answers are "word word word …", as long as told, one token per
// step, and it can be held, failed and watched. Driven by the real engine in the tests of
// server/rpc.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/model.h"

namespace llavamini {

class FakeModel final : public Model {
 public:
  static constexpr TokenId kEnd = 999;

  FakeModel(int32_t pages, std::vector<TokenId> words);

  const ModelFacts& facts() const override { return facts_; }
  absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const> images) override;
  absl::StatusOr<EncodedImagePtr> MoveToHost(const EncodedImagePtr& image) override;
  absl::StatusOr<EncodedImagePtr> MoveToDevice(const EncodedImagePtr& image) override;
  absl::StatusOr<std::unique_ptr<FusedPrompt>> BeginFusion(absl::Span<const TokenId> prompt,
                                                           int64_t images) override;
  absl::Status Fuse(absl::Span<const FusionRow>) override { return absl::OkStatus(); }
  bool SamplesAhead(const SamplingParams&) const override { return true; }
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override;
  absl::StatusOr<std::vector<SampledToken>> Collect() override;
  double StepMilliseconds(int64_t) const override { return 0; }
  double PieceMilliseconds(int64_t) const override { return 0; }

  // Tokens before the end of the turn.
  void SetAnswerLength(int64_t tokens);
  // All steps, or those that decode, are not done until Release(); nor are encodings, with Hold().
  void Hold();
  void HoldDecoding();
  void Release();
  // Each decode step takes this long.
  void SetStepTime(absl::Duration time);
  // The next step with a prompt fails with this.
  void FailNext(absl::Status status);

  int64_t decode_steps() const;  // launched
  int64_t encoded_images() const;

 private:
  friend class FakeEncoding;

  struct StepInFlight {
    bool decodes = false;
    std::vector<SampledToken> tokens;
  };

  SampledToken Sample(const SamplingParams& sampling, int64_t index)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WaitWhile(bool* held) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ModelFacts facts_;
  const std::vector<TokenId> words_;
  mutable absl::Mutex mutex_;
  int64_t answer_length_ ABSL_GUARDED_BY(mutex_) = 8;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool decoding_held_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration step_time_ ABSL_GUARDED_BY(mutex_);
  absl::Status fail_next_ ABSL_GUARDED_BY(mutex_);
  std::deque<StepInFlight> in_flight_ ABSL_GUARDED_BY(mutex_);
  int64_t decode_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t encoded_images_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace llavamini
