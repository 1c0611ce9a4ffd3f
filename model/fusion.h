// Modality pre-fusion: LLaMA blocks over (tiles, whole, compressed, text). Because the mask is
// causal and the text stands last, the visual rows are computed once per image and kept; any text
// is fused on top of them. Used by the thread that owns the model.
#pragma once

#include <bit>
#include <vector>

#include "absl/types/span.h"
#include "model/compressor.h"
#include "model/llama.h"
#include "model/model.h"
#include "model/ops.h"

namespace llavamini {

// What an image contributes to any text about it.
struct VisualRows : EncodedImage {
  // Page-locked memory comes in powers of two.
  size_t bytes() const override {
    return host ? std::bit_ceil(rows.nbytes()) + std::bit_ceil(tokens.nbytes())
                : rows.nbytes() + tokens.nbytes();
  }
  bool on_host() const override { return host; }

  at::Tensor rows;    // keys (turned) and values per pre-fusion layer, [layers, 2, R, Hkv·d]; R =
                      // tiles + whole + compressed rows
  at::Tensor tokens;  // the vision tokens [C, D]
  bool host = false;
};

// R of an image at this resolution ratio.
int64_t VisualRowCount(const ModelConfig& config, int64_t resolution_ratio);

// Where an image has its keys and values: int64 [layers · 2], appended.
void AppendAddresses(const VisualRows& image, std::vector<int64_t>& addresses);

// One text on top of one image.
struct TextRun {
  const VisualRows* image = nullptr;
  int64_t rows = 0;  // of the text
};

class Fusion {
 public:
  // fp8: the blocks' products in e4m3; compressor and projector stay as they are.
  Fusion(Checkpoint& checkpoint, const ModelConfig& config, ops::RopeTable rope, bool fp8 = false);

  // What a batch of B images of one resolution ratio has in common whatever they show.
  struct VisualShape {
    int64_t images = 0;
    int64_t rows = 0;           // R
    ops::Segments all;          // R rows attend among themselves
    ops::Segments last;         // of them the compressed rows only
    at::Tensor positions;       // int32 [B·R]
    at::Tensor last_positions;  // int32 [B·C]
  };
  VisualShape ShapeOf(int64_t images, int64_t resolution_ratio, const at::Device& device) const;

  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }

  // CLIP features [B, S, P, Dv] → tiles in raster order, whole, compressed: [B·R, D].
  at::Tensor VisualInput(const at::Tensor& features) const;
  // One block: x [B·R, D] → x, in place, but of the last block the vision tokens [B·C, D]. Its keys
  // and values go to kept [B, layers, 2, R, Hkv·d].
  at::Tensor RunVisualBlock(int64_t layer, at::Tensor x, const VisualShape& shape,
                            at::Tensor& kept) const;

  // What texts on top of images need besides their rows.
  struct TextShape {
    ops::Segments segments;  // each run's rows behind its image's
    at::Tensor positions;    // int32 [N]
    at::Tensor addresses;    // int64 [layers, 2, runs]: where the images' keys and values lie
    std::vector<at::Tensor> visual;  // their rows [layers, 2, R, Hkv·d]; read on a CPU only
  };
  TextShape ShapeOf(absl::Span<const TextRun> runs, const at::Device& device) const;

  // Texts, embedded: x [N, D] holds the runs' rows one after another → [N, D].
  at::Tensor FuseText(at::Tensor x, const TextShape& shape) const;

 private:
  ModelConfig config_;
  ops::HeadShape heads_;
  ops::RopeTable rope_;
  Compressor compressor_;
  Projector projector_;
  std::vector<LlamaLayer> layers_;
  ops::Weights last_asked_, last_seen_;  // of the last block's qkv: queries; keys and values
};

}  // namespace llavamini
