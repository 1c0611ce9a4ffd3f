// Chooses a sequence's next token from its logits. Pure functions of their arguments; no torch.
#pragma once

#include <array>
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
// penalties, temperature, top-k, top-p, min-p; then one draw whose randomness is Philox(seed, index
// of the token). Temperature 0: the largest penalised logit (the lowest id of equals). Log
// probabilities are those of the logits as they came.
SampledToken Sample(absl::Span<float> logits, const SamplingContext& context);

// Philox4x32-10 (Salmon et al. 2011) with the seed as key and (index, block) as counter: four
// random words.
std::array<uint32_t, 4> Philox(uint64_t seed, uint64_t index, uint32_t block);

}  // namespace llavamini
