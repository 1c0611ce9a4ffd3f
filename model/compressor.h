// C learned queries attend to all patches of a picture (8 heads), and the projector that takes
// vision features to the language model's width. Built once at load, then only read: safe from any
// thread.
#pragma once

#include <map>

#include "model/checkpoint/model_config.h"
#include "model/layers.h"

namespace llavamini {

class Compressor {
 public:
  Compressor(Checkpoint& checkpoint, const ModelConfig& config);

  // Patch features [B, P', Dv], a square grid in raster order, of resolution ratio n → [B, C, Dv].
  // out = MultiheadAttention(LN_q(query) + pos, key = kv + pos resized to the grid, value = kv), kv
  // = LN_kv(patches). The queries q are constants, so neither keys nor values of patches are made:
  // q·(Wk k + bk) = (Wkᵀ q)·k and the same for all k, and Σ w (Wv v + bv) = Wv (Σ w v) + bv.
  at::Tensor operator()(const at::Tensor& patches, int64_t resolution_ratio) const;

 private:
  // [grid² or 1, Dv]: pos_embed resized, bicubic, in float32.
  at::Tensor KeyPositions(int64_t grid) const;

  ModelConfig config_;
  LayerNorm key_value_norm_;
  at::Tensor position_;  // pos_embed [C, Dv]
  Linear asked_;         // Wkᵀ q, scaled: [heads·C, Dv]
  // Of the keys' positions, by ratio: [P' or 1, heads·C].
  std::map<int64_t, at::Tensor> position_scores_;
  Linear value_;
  Linear out_;
};

// Linear, GELU (erf), Linear.
struct Projector {
  Projector(Checkpoint& checkpoint, const ModelConfig& config);

  at::Tensor operator()(const at::Tensor& features) const;  // [.., Dv] → [.., D]

  Linear first;
  Linear second;
};

// The resolution ratios that a request may ask for: low detail, high detail, the checkpoint's own.
std::vector<int64_t> ServedRatios(const ModelConfig& config);

}  // namespace llavamini
