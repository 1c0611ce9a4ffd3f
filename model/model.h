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
#include "model/text/tokenizer.h"

namespace llavamini {

// Rows of the language model's key-value cache come in pages of this many.
inline constexpr int kPageTokens = 16;

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
// and its C vision tokens.
class EncodedImage {
 public:
  virtual ~EncodedImage() = default;
  virtual size_t bytes() const = 0;
};
using EncodedImagePtr = std::shared_ptr<const EncodedImage>;

// A prompt to prefill; the views live as long as the call.
struct PromptRow {
  absl::Span<const TokenId> prompt;  // with one kImagePlaceholder when there are images, else none
  absl::Span<const EncodedImagePtr> images;  // one image, or a video's frames in time order
  absl::Span<const int32_t> pages;           // hold all rows of the prompt
  const SamplingParams* sampling = nullptr;
};

// A sequence to take one step; its newest token, answer.back(), is fed.
struct DecodeRow {
  absl::Span<const TokenId> prompt;
  absl::Span<const TokenId> answer;  // at least one token
  int32_t position = 0;              // rows of this sequence already in its pages
  absl::Span<const int32_t> pages;   // hold position + 1 rows
  const SamplingParams* sampling = nullptr;
};

struct ModelFacts {
  std::string device;  // "cpu", or the GPU's name
  std::string dtype;   // "float32", "bfloat16", "float16"
  int64_t vocab_size = 0;
  int64_t parameters = 0;
  int64_t max_position = 0;      // longest prompt and answer that the rotary embedding serves
  int32_t tokens_per_image = 1;  // C
  int32_t pages = 0;             // of the key-value cache
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelFacts& facts() const = 0;

  // CLIP, compressor, projector and the visual part of pre-fusion; one result per input, in order.
  // All inputs of one call have the same resolution_ratio.
  virtual absl::StatusOr<std::vector<EncodedImagePtr>> EncodeImages(
      absl::Span<const ImageInput* const> images) = 0;

  // Pre-fuses each prompt's text with its images, fills its pages and samples its first token.
  virtual absl::StatusOr<std::vector<SampledToken>> Prefill(
      absl::Span<const PromptRow> prompts) = 0;

  // One token more for each sequence.
  virtual absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) = 0;

  // A failed call changes nothing that later calls depend on, and says: RESOURCE_EXHAUSTED when
  // memory ran out (smaller batches may do), ABORTED when the device is lost (the process should
  // end), INTERNAL otherwise.
};

// Rows that a prompt takes in the language model: its ids, the placeholder replaced by C tokens per
// image.
inline int64_t PromptLength(size_t ids, size_t images, int32_t tokens_per_image) {
  return static_cast<int64_t>(ids) +
         (images == 0 ? 0 : static_cast<int64_t>(images) * tokens_per_image - 1);
}

}  // namespace llavamini
