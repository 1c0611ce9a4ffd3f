// Modality pre-fusion: LLaMA blocks over (tiles, whole, compressed, text). Because the mask is
// causal and the text stands last, the visual rows are computed once per image and kept; any text
// is fused on top of them. Safe from any thread after construction.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "model/compressor.h"
#include "model/llama.h"
#include "model/model.h"

namespace llavamini {

// What an image contributes to any text about it.
struct VisualRows : EncodedImage {
  size_t bytes() const override;

  std::vector<at::Tensor>
      keys;  // per pre-fusion layer [R, Hkv, d], rotated; R = tiles + whole + compressed rows
  std::vector<at::Tensor> values;  // per pre-fusion layer [R, Hkv, d]
  at::Tensor tokens;               // the vision tokens [C, D]
};

class Fusion {
 public:
  Fusion(Checkpoint& checkpoint, const ModelConfig& config, const Rope& rope);

  // CLIP features [B, S, P, Dv] of images of one resolution ratio → one result per image.
  std::vector<EncodedImagePtr> EncodeImages(const at::Tensor& features) const;

  // Text fused with each of T frames, then the mean over them in float32: text [L, D], the
  // embeddings of ids that take part (id > 0), in order → [L, D].
  at::Tensor FuseText(const at::Tensor& text, absl::Span<const VisualRows* const> frames) const;

 private:
  // Tiles in raster order, whole, compressed: [B, R, D].
  at::Tensor VisualInput(const at::Tensor& features) const;
  // The sum over some frames of the text fused with each, float32 [L, D].
  at::Tensor FuseWithFrames(const at::Tensor& text,
                            absl::Span<const VisualRows* const> frames) const;

  ModelConfig config_;
  Compressor compressor_;
  Projector projector_;
  std::vector<LlamaLayer> layers_;
  Rope rope_;
};

}  // namespace llavamini
