// A prompt with images on its way through pre-fusion. Used by the thread that owns the model.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <vector>

#include "model/device_stream.h"
#include "model/fusion.h"
#include "model/model.h"

namespace llavamini {

// Ignored ids (the placeholder, and the real token 0) take no part in pre-fusion: nothing attends
// to them, they have no position, and their rows stay plain embeddings.
struct FusedText : FusedPrompt {
  FusedText(absl::Span<const TokenId> prompt, int64_t images);

  std::vector<TokenId> ids;  // of the text that takes part, L of them
  int64_t images;            // T, of the prompt
  int64_t fused = 0;         // of them
  at::Tensor text;           // [L, D]: the sum over the fused images, in float32 while T > 1
  at::Tensor tokens;         // [T·C, D], the first fused · C rows set
};

// Fuses more images into each prompt's text, in batches of bounded memory; on a GPU a short text
// with one image is a graph.
class TextFuser {
 public:
  // embedding [V, D]. visual_rows: R of images as the checkpoint has them. add_in_order: the sum
  // over images does not depend on how they are batched.
  TextFuser(const Fusion* fusion, const DeviceStream* stream, at::Tensor embedding,
            int64_t visual_rows, bool add_in_order);
  ~TextFuser();

  // On a GPU: times products and records the graphs.
  void Prepare();

  void Fuse(absl::Span<const FusionRow> rows) const;

 private:
  struct Batch;
  struct Short;  // a text of up to so many rows with one image

  void Run(const Batch& batch) const;
  at::Tensor Embed(const at::Tensor& ids) const;
  at::Tensor FuseRows(const Batch& batch) const;
  at::Tensor FuseShort(const Batch& batch, const Short& graph) const;
  void Add(FusedText& text, const at::Tensor& rows, int64_t images) const;

  const Fusion* fusion_;
  const DeviceStream* stream_;
  at::Tensor embedding_;
  const int64_t visual_rows_;
  const bool add_in_order_;
  std::map<int64_t, std::unique_ptr<Short>> graphs_;  // by rows
};

// What a prompt's rows are made of in the language model's input: a plain embedding (id ≥ 0), or
// row -2 - id of the fused text and, behind it, the vision tokens (ops::GatherRows). made: rows
// that stand before this prompt's own.
void AppendInputIds(absl::Span<const TokenId> prompt, const FusedText* fused, int64_t made,
                    std::vector<int32_t>& ids);

}  // namespace llavamini
