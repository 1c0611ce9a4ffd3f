// A model without mathematics: each token is a hash of (seed, prompt, images, answer so far), read
// back through the page table, so that any mix-up of places, pages, order, images or neighbours
// changes the answer. It works as a device does: a launched step is done at once and in order, its
// tokens are known when it is collected. It complains about what its store does (fake_store.h) and
// about every call that breaks model.h.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"
#include "tests/server/engine/fake_images.h"
#include "tests/server/engine/fake_store.h"

namespace llavamini {

// One call, as told to whoever listens.
struct FakeCall {
  enum class Kind {
    kBeginEncoding,
    kPiece,  // these two: contents
    kMoveToHost,
    kMoveToDevice,  // these two: what FakeEncodedImage::content() says
    kBeginFusion,
    kFuse,  // these two: names of the prompts
    kLaunch,
    kCollect  // these two: seeds, the prompts' first
  };
  Kind kind;
  std::vector<uint64_t> who;
  int64_t prompts = 0;  // of a step
  int64_t rows = 0;     // of the language model in a step; images of another call
  int pieces_left = 0;  // after a kPiece
};

// Facts of a model with this many pages, eight places, batches of eight images and steps that may
// be launched ahead.
ModelFacts FakeFacts(int32_t pages);

struct FakeBehaviour {
  std::vector<TokenId> end_tokens = {};
  uint64_t end_every = 0;                                // as of FakeVocabulary
  int pieces = 3;                                        // of an encoding
  bool has_host = true;                                  // images can be moved to the host
  double step_milliseconds = 0, piece_milliseconds = 0;  // per row and image
};

class FakeModel : public Model {
 public:
  FakeModel(ModelFacts facts, FakeBehaviour behaviour);

  const ModelFacts& facts() const override { return facts_; }
  absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const> images) override;
  absl::StatusOr<EncodedImagePtr> MoveToHost(const EncodedImagePtr& image) override;
  absl::StatusOr<EncodedImagePtr> MoveToDevice(const EncodedImagePtr& image) override;
  absl::StatusOr<std::unique_ptr<FusedPrompt>> BeginFusion(absl::Span<const TokenId> prompt,
                                                           int64_t images) override;
  absl::Status Fuse(absl::Span<const FusionRow> rows) override;
  // Not with a repetition penalty.
  bool SamplesAhead(const SamplingParams& sampling) const override;
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override;
  absl::StatusOr<std::vector<SampledToken>> Collect() override;
  double StepMilliseconds(int64_t rows) const override;
  double PieceMilliseconds(int64_t images) const override;

  // Asked before each call: its failure is the call's, which then does nothing; a step that fails
  // to be collected is over.
  std::function<absl::Status(const FakeCall&)> before_call;

  // The sequence with this sampling seed has ended: whoever gets its place and pages from now on
  // must write them first.
  void Release(uint64_t seed) { store_.Release(seed); }

  const std::vector<std::string>& complaints() const { return store_.complaints(); }
  int64_t images_alive() const { return *images_alive_; }
  int64_t prompts_alive() const { return *prompts_alive_; }
  int64_t pages_owned() const { return store_.pages_owned(); }
  size_t steps_in_flight() const { return in_flight_.size(); }

 private:
  friend class FakeEncoding;

  struct StepInFlight {
    std::vector<uint64_t> seeds;
    int64_t prompts = 0;
    std::vector<SampledToken> tokens;
  };

  absl::Status Ask(FakeCall call);
  void Complain(const std::string& complaint) { store_.Complain(complaint); }
  std::vector<uint64_t> RowsOf(const PromptRow& prompt);

  const ModelFacts facts_;
  const FakeBehaviour behaviour_;
  FakeStore store_;
  std::deque<StepInFlight> in_flight_;
  int encodings_under_way_ = 0;
  const Census images_alive_ = MakeCensus();
  const Census prompts_alive_ = MakeCensus();
};

}  // namespace llavamini
