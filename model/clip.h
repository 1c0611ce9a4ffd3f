// The CLIP vision tower up to the hidden state that LLaVA-Mini reads: with select_layer -2 the last
// block and the post-norm are never run. Built once at load, then only read: safe from any thread.
#pragma once

#include <vector>

#include "model/checkpoint/model_config.h"
#include "model/layers.h"

namespace llavamini {

// Pre-norm transformer block.
struct ClipBlock {
  ClipBlock(Checkpoint& checkpoint, const std::string& prefix, const VisionConfig& config);

  at::Tensor operator()(const at::Tensor& x) const;  // [N, P+1, Dv] → as x

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

  // uint8 [N, side, side, 3] → patch features [N, P, Dv], rows of patches from the top left, CLS
  // dropped.
  at::Tensor operator()(const at::Tensor& parts) const;

 private:
  at::Tensor Embed(const at::Tensor& parts) const;  // → [N, P+1, Dv], CLS first

  VisionConfig config_;
  Linear patch_embedding_;         // in: 3 · patch · patch
  at::Tensor class_embedding_;     // [Dv]
  at::Tensor position_embedding_;  // [P+1, Dv]
  LayerNorm pre_norm_;
  std::vector<ClipBlock> blocks_;  // those that are run
  at::Tensor mean_, deviation_;    // [3], of pixels in 0 … 1
};

}  // namespace llavamini
