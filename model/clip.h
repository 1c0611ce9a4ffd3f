// The CLIP vision tower up to the hidden state that LLaVA-Mini reads: with select_layer -2 the last
// block and the post-norm are never run. Built once at load, then only read: safe from any thread.
#pragma once

#include <vector>

#include "model/checkpoint/model_config.h"
#include "model/layers.h"
#include "model/ops.h"

namespace llavamini {

// Pre-norm transformer block.
struct ClipBlock {
  ClipBlock(Checkpoint& checkpoint, const std::string& prefix, const VisionConfig& config);

  // x [N·(P+1), Dv], each picture's rows adjacent, in place.
  void operator()(at::Tensor& x, const ops::Segments& pictures) const;

  int64_t heads;
  HiddenAct hidden_act;
  LayerNorm attention_norm;
  Linear qkv;
  Linear out;
  LayerNorm mlp_norm;
  Linear fc1;
  Linear fc2;
};

class ClipTower {
 public:
  ClipTower(Checkpoint& checkpoint, const ModelConfig& config);

  int64_t rows() const { return config_.patches() + 1; }  // of a picture inside: CLS, patches
  int64_t block_count() const { return static_cast<int64_t>(blocks_.size()); }

  // uint8 [N, side, side, 3] → [N·(P+1), Dv], CLS first.
  at::Tensor Embed(const at::Tensor& pictures) const;
  // Blocks first … last - 1, in place. pictures: N runs of P+1 rows.
  void RunBlocks(at::Tensor& x, int64_t first, int64_t last, const ops::Segments& pictures) const;
  // → patch features [N, P, Dv], rows of patches from the top left, CLS dropped.
  at::Tensor Features(const at::Tensor& x) const;

  // All of it.
  at::Tensor operator()(const at::Tensor& pictures) const;

 private:
  VisionConfig config_;
  Linear patch_embedding_;         // in: 3 · patch · patch, then zeros
  at::Tensor class_embedding_;     // [Dv]
  at::Tensor position_embedding_;  // [P+1, Dv]
  LayerNorm pre_norm_;
  std::vector<ClipBlock> blocks_;  // those that are run
  ops::PixelScale scale_;
};

}  // namespace llavamini
