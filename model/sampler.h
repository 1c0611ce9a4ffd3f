// Chooses a sequence's next token from its logits. Pure functions of their arguments; no torch.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/model.h"

namespace llavamini {

// What one choice depends on besides the logits.
struct SamplingContext {
  absl::Span<const TokenId> prompt;  // ids below 0 (the image placeholder) are no tokens
  absl::Span<const TokenId>
      answer;  // tokens so far; their number is the index of the one to choose
  const SamplingParams& params;
};

// True when the choice is the largest logit, whatever the tokens so far.
bool IsPlainGreedy(const SamplingParams& params);

// logits [V], changed in place. In Hugging Face's order: repetition penalty, frequency and presence
// penalties, temperature, top-k, top-p, min-p; then one draw from Philox(seed, index of the token).
// Temperature 0: the largest penalised logit (the lowest id of equals). Log probabilities are those
// of the logits as they came.
SampledToken Sample(absl::Span<float> logits, const SamplingContext& context);

// The i-th uniform number in [0, 1) of a stream: Philox4x32-10 (Salmon et al. 2011) with the seed
// as key and the index as counter.
double UniformAt(uint64_t seed, uint64_t index);

}  // namespace llavamini
