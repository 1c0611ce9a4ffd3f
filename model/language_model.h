// The LLaMA trunk over packed rows of embeddings, with its paged key-value cache. Used by the
// thread that owns the model.
#pragma once

#include <vector>

#include "model/kv_cache.h"
#include "model/llama.h"
#include "model/ops.h"

namespace llavamini {

// The rows of one step: which sequence each belongs to and where in it, and how they attend.
struct StepRows {
  enum class Attention {
    kNewest,    // every row is the newest of its sequence
    kPages,     // prompts (of at most kMostPagedPromptRows rows), then newest rows
    kSegments,  // newest rows first, then whole prompts, which attend among themselves
  };
  Attention attention = Attention::kNewest;
  at::Tensor places;         // int32 [N]; below 0: padding
  at::Tensor positions;      // int32 [N]
  at::Tensor slots;          // int64 [N] on a CPU (see ops::PagedRows)
  at::Tensor sample_rows;    // int32 [S], rows that lead to logits; undefined: all
  int64_t newest_rows = 0;   // kSegments: how many stand first
  ops::Segments prompts;     // kSegments: the rest; kPages: the first rows, when there is a kernel
  at::Tensor newest_places;  // int32 [N], kPages with prompts: places of newest rows only
};

// Prompts of up to so many rows share steps with newest rows. (Where there is no kernel for both,
// their rows attend one by one, as newest rows do: all in one split.)
inline constexpr int64_t kMostPagedPromptRows = 256;

class LanguageModel {
 public:
  // fp8: the layers' products in e4m3; embedding and lm_head stay as they are.
  LanguageModel(Checkpoint& checkpoint, const ModelConfig& config, ops::RopeTable rope,
                bool fp8 = false);

  const at::Tensor& embedding() const { return embedding_; }  // [V, D]
  const ops::HeadShape& heads() const { return heads_; }

  // x [N, D]; fills the rows' slots. → logits [S, V].
  at::Tensor Forward(at::Tensor x, const StepRows& rows, KvCache& cache) const;

 private:
  at::Tensor Attend(at::Tensor& qkv, const StepRows& rows, const ops::PagedRows& paged,
                    const at::Tensor& workspace) const;

  ops::HeadShape heads_;
  ops::RopeTable rope_;
  at::Tensor embedding_;
  std::vector<LlamaLayer> layers_;
  RmsNorm norm_;
  Linear head_;
};

}  // namespace llavamini
