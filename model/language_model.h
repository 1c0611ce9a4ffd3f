// The LLaMA trunk over packed rows of embeddings, with its paged key-value cache. Used by the
// engine's thread.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "model/kv_cache.h"
#include "model/llama.h"

namespace llavamini {

class LanguageModel {
 public:
  LanguageModel(Checkpoint& checkpoint, const ModelConfig& config, const Rope& rope);

  // Ids [N] → plain embeddings [N, D].
  at::Tensor Embed(const at::Tensor& ids) const;

  // Prompts, each from its position 0: the rows of all of them packed as x [N, D], `lengths` rows
  // each; fills their pages. → logits of the last row of each, [prompts, V].
  at::Tensor Prefill(at::Tensor x, absl::Span<const int64_t> lengths,
                     absl::Span<const absl::Span<const int32_t>> pages, KvCache& cache) const;

  // One row per sequence, x [N, D], at `positions`; fills its slot. → logits [N, V].
  at::Tensor Decode(at::Tensor x, absl::Span<const int32_t> positions,
                    absl::Span<const absl::Span<const int32_t>> pages, KvCache& cache) const;

 private:
  at::Tensor Head(const at::Tensor& x) const;  // final norm and logits

  at::Tensor embedding_;  // [V, D]
  std::vector<LlamaLayer> layers_;
  RmsNorm norm_;
  Linear head_;
  Rope rope_;
};

}  // namespace llavamini
