// What drives a model: the engine calls these, on its one thread; tests put a fake behind them.
// Plain data, no torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/image/picture.h"
#include "model/memory_plan.h"
#include "model/text/tokenizer.h"

namespace llavamini {

// How one sequence's next token is chosen. A pure function of the logits, the tokens so far and
// (seed, index of the token): neighbours in the batch play no part.
struct SamplingParams {
  float temperature = 0;  // 0: greedy
  float top_p = 1;
  int32_t top_k = 0;  // 0: all
  float min_p = 0;
  float repetition_penalty = 1;  // over prompt and answer, as Hugging Face does
  float frequency_penalty = 0;   // over the answer
  float presence_penalty = 0;    // over the answer
  uint64_t seed = 0;
  bool logprobs = false;
  int32_t top_logprobs = 0;
};

struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0;  // natural logarithm, before temperature, penalties and filters
};

struct SampledToken {
  TokenLogprob token;             // logprob only when asked for
  std::vector<TokenLogprob> top;  // best first
};

// What one image or frame contributes, whatever is asked about it: its pre-fusion keys and values
// and its C vision tokens. Lives on the model's device, or, moved there, in the host's memory.
class EncodedImage {
 public:
  virtual ~EncodedImage() = default;
  virtual size_t bytes() const = 0;
  virtual bool on_host() const { return false; }
};
using EncodedImagePtr = std::shared_ptr<const EncodedImage>;

// A batch of images on its way through CLIP, compressor, projector and the visual part of
// pre-fusion, in pieces, so that decode steps can run between them. At most one is under way.
class Encoding {
 public:
  virtual ~Encoding() = default;
  virtual int pieces_left() const = 0;
  // Starts the next piece; pieces_left() > 0.
  virtual absl::Status RunPiece() = 0;
  // One per input, in order; pieces_left() == 0. Later calls of the model may use them at once.
  virtual std::vector<EncodedImagePtr> images() const = 0;
};

// One prompt's text on its way through pre-fusion: the sum over the images fused so far, and their
// vision tokens.
class FusedPrompt {
 public:
  virtual ~FusedPrompt() = default;
};

// More images for one prompt, in time order; at least one.
struct FusionRow {
  FusedPrompt* prompt = nullptr;
  absl::Span<const EncodedImagePtr> images;  // on the device; may be let go after the call
};

// Names what the model keeps of one running sequence (its pages and its newest token): 0 …
// max_running - 1.
using Place = int32_t;

// A prompt to prefill; the views live as long as the call.
struct PromptRow {
  absl::Span<const TokenId> prompt;  // with one kImagePlaceholder when there are images, else none
  FusedPrompt* fused = nullptr;      // with all of its images; null when there are none
  absl::Span<const int32_t> pages;   // hold all rows of prompt and answer; kept for the place
  Place place = 0;                   // becomes this sequence's until another prompt gets it
  const SamplingParams* sampling = nullptr;
};

// A sequence to take one step: the token that its place got last is fed. The views live as long as
// the call.
struct DecodeRow {
  Place place = 0;
  int32_t position = 0;     // rows of this sequence already in its pages, steps in flight included
  int64_t token_index = 0;  // of the token to choose: tokens of the answer so far, likewise
  const SamplingParams* sampling = nullptr;
  // Read only where SamplesAhead() is false; then `answer` is whole.
  absl::Span<const TokenId> prompt;
  absl::Span<const TokenId> answer;
};

struct ModelFacts {
  std::string device;  // "cpu", or the GPU's name
  std::string dtype;   // "float32", "bfloat16", "float16"
  int64_t vocab_size = 0;
  int64_t parameters = 0;
  int64_t max_position = 0;      // longest prompt and answer that the rotary embedding serves
  int32_t tokens_per_image = 1;  // C
  int32_t pages = 0;             // of the key-value cache
  int32_t places = 0;            // sequences that run together
  int32_t max_images = 1;        // of one Encoding
  int32_t steps_ahead = 0;       // 1: a step may be launched while the one before is not collected
  MemoryPlan memory;             // what was sized at start
};

// Calls start work on the device in their order, and may return before it is done; Collect() waits.
class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelFacts& facts() const = 0;

  // At most facts().max_images, all of the same resolution_ratio. One encoding at a time.
  virtual absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const> images) = 0;

  // Copies between the device and the host's memory. UNIMPLEMENTED where they are the same.
  virtual absl::StatusOr<EncodedImagePtr> MoveToHost(const EncodedImagePtr& image) = 0;
  virtual absl::StatusOr<EncodedImagePtr> MoveToDevice(const EncodedImagePtr& image) = 0;

  // A prompt with `images` images, none of them fused yet.
  virtual absl::StatusOr<std::unique_ptr<FusedPrompt>> BeginFusion(absl::Span<const TokenId> prompt,
                                                                   int64_t images) = 0;
  virtual absl::Status Fuse(absl::Span<const FusionRow> rows) = 0;

  // Whether a step with this sequence may be launched before its last token is collected.
  virtual bool SamplesAhead(const SamplingParams& sampling) const = 0;

  // One step: fills the prompts' pages and chooses their first tokens, and one token more for each
  // row. At least one of them; a place is in it once. At most 1 + steps_ahead are not collected.
  virtual absl::Status Launch(absl::Span<const PromptRow> prompts,
                              absl::Span<const DecodeRow> rows) = 0;

  // The tokens of the oldest step that is not collected: the prompts', then the rows'.
  virtual absl::StatusOr<std::vector<SampledToken>> Collect() = 0;

  // Estimated time on the device, in milliseconds, measured at start; 0 where it is not known.
  virtual double StepMilliseconds(int64_t rows) const = 0;
  virtual double PieceMilliseconds(int64_t images) const = 0;

  // A failed call changes nothing that later calls depend on, and says: RESOURCE_EXHAUSTED when
  // memory ran out (smaller batches may do), ABORTED when the device is lost (the process should
  // end), INTERNAL otherwise. A step whose Collect() failed is over.
};

// Rows that a prompt takes in the language model: its ids, the placeholder replaced by C tokens per
// image.
inline int64_t PromptLength(size_t ids, size_t images, int32_t tokens_per_image) {
  return static_cast<int64_t>(ids) +
         (images == 0 ? 0 : static_cast<int64_t>(images) * tokens_per_image - 1);
}

}  // namespace llavamini
