// The LLaMA block, which serves pre-fusion and the language model alike, and its rotary embedding.
// Built once at load, then only read: safe from any thread. Rows are packed: one dimension N runs
// over the rows of all sequences.
#pragma once

#include <vector>

#include "model/checkpoint/model_config.h"
#include "model/layers.h"

namespace llavamini {

// Cosines and sines of some positions, float32 [N, d/2] each.
struct RopeRows {
  at::Tensor cos;
  at::Tensor sin;
};

// Rotary position embedding: angle of pair i at position p is p · frequency[i]; frequency[i] =
// theta^(-2i/d), slowed for long wavelengths as LLaMA-3.1 does when the config has rope_scaling.
class Rope {
 public:
  Rope(const ModelConfig& config, at::Device device);

  RopeRows operator()(const at::Tensor& positions) const;  // integers [N]

 private:
  at::Tensor frequencies_;  // float32 [d/2]
};

// Rotated queries and keys, and values, of some rows.
struct ProjectedRows {
  at::Tensor q;  // [N, Hq, d]
  at::Tensor k;  // [N, Hkv, d]
  at::Tensor v;  // [N, Hkv, d]
};

struct LlamaLayer {
  LlamaLayer(Checkpoint& checkpoint, const std::string& prefix, const ModelConfig& config);

  // What stands before attention: x [N, D].
  ProjectedRows Project(const at::Tensor& x, const RopeRows& rope) const;

  // What stands after it: x [N, D], attended [N, Hq·d] → [N, D].
  at::Tensor Finish(const at::Tensor& x, const at::Tensor& attended) const;

  int64_t query_heads;
  int64_t key_value_heads;
  int64_t head_dim;
  RmsNorm attention_norm;
  Linear qkv;  // [(Hq + 2·Hkv)·d, D]
  Linear out;  // [D, Hq·d]
  RmsNorm mlp_norm;
  Linear gate_up;  // [2F, D]
  Linear down;     // [D, F]
};

// "prefix.0.", "prefix.1.", …
std::vector<LlamaLayer> LoadLayers(Checkpoint& checkpoint, const std::string& prefix, int64_t count,
                                   const ModelConfig& config);

}  // namespace llavamini
