// Chooses a sequence's next token from its logits, on the host; kernels::SampleRows
// (model/cuda/sampling.h) chooses the same on the GPU where SamplesOnDevice() holds. Pure functions
// of their arguments; no torch.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "model/model.h"
#include "model/sampler_math.h"

namespace llavamini {

// What one choice depends on besides the logits.
struct SamplingContext {
  absl::Span<const TokenId> prompt;  // ids below 0 (the image placeholder) are no tokens
  absl::Span<const TokenId> answer;  // so far: as many as the index of the token to choose
  const SamplingParams& params;
};

// True when the choice is the largest logit, whatever the tokens so far.
bool IsPlainGreedy(const SamplingParams& params);

// True when the choice depends on logits, seed and index alone, and no probability is asked for:
// then the GPU can make it.
bool SamplesOnDevice(const SamplingParams& params);

// The same choice as the GPU reads it; SamplesOnDevice(params).
DeviceSampling ForDevice(const SamplingParams& params, int64_t token_index, Place place);

// logits [V], changed in place. In Hugging Face's order: repetition penalty, frequency and presence
// penalties, temperature, top-k, top-p, min-p; then one draw whose randomness is Philox(seed, index
// of the token). The filters keep every logit from a least one upwards, so equals stay or go
// together: top-k's is the k-th largest, top-p's the last that is needed for its mass. Temperature
// 0: the largest penalised logit (the lowest id of equals). Log probabilities are those of the
// logits as they came. A logit that is no number counts as minus infinity.
SampledToken Sample(absl::Span<float> logits, const SamplingContext& context);

// The least logit that the params' top-k, top-p and min-p keep at their temperature; logits [V],
// none of them NaN; temperature > 0.
float LeastKept(absl::Span<const float> logits, const SamplingParams& params);

}  // namespace llavamini
