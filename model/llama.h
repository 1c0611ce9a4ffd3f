// The LLaMA block, which serves pre-fusion and the language model alike, and its rotary embedding.
// Built once at load, then only read: safe from any thread. Rows are packed: one dimension N runs
// over the rows of all sequences.
#pragma once

#include <utility>
#include <vector>

#include "model/checkpoint/model_config.h"
#include "model/layers.h"
#include "model/ops.h"

namespace llavamini {

// Rotary position embedding of positions 0 … positions - 1: angle of pair i at position p is p ·
// frequency[i]; frequency[i] = theta^(-2i/d), slowed for long wavelengths as LLaMA-3.1 does when
// the config has rope_scaling.
ops::RopeTable MakeRope(const ModelConfig& config, int64_t positions, at::Device device);

ops::HeadShape HeadShapeOf(const ModelConfig& config);

struct LlamaLayer {
  // fp8: the products' weights in e4m3, each made so before the next is loaded.
  LlamaLayer(Checkpoint& checkpoint, const std::string& prefix, const ModelConfig& config,
             bool fp8);

  // What stands before attention, but for the turning: x [N, D] → [N, (Hq + 2·Hkv)·d].
  at::Tensor Project(const at::Tensor& x) const;

  // What stands after it: x [N, D], attended [N, Hq·d] → [N, D].
  at::Tensor Finish(const at::Tensor& x, const at::Tensor& attended) const;
  // The same of many rows, in place of x.
  void FinishInPlace(at::Tensor& x, const at::Tensor& attended) const;

  // The same, and what stands before the next attention, or behind the last block: → [N, D] and its
  // norm times `next`.
  std::pair<at::Tensor, at::Tensor> FinishAndProject(const at::Tensor& x,
                                                     const at::Tensor& attended,
                                                     const RmsNorm& next_norm,
                                                     const Linear& next) const;

  RmsNorm attention_norm;
  Linear qkv;  // [(Hq + 2·Hkv)·d, D]
  Linear out;  // [D, Hq·d]
  RmsNorm mlp_norm;
  Linear gate_up;  // [2F, D]
  Linear down;     // [D, F]

 private:
  void AddMlp(at::Tensor& x) const;
  std::pair<at::Tensor, at::Tensor> FinishBlock(const at::Tensor& x, const at::Tensor& attended,
                                                const ops::BlockStart* next) const;
};

// "prefix.0.", "prefix.1.", …
std::vector<LlamaLayer> LoadLayers(Checkpoint& checkpoint, const std::string& prefix, int64_t count,
                                   const ModelConfig& config, bool fp8);

}  // namespace llavamini
