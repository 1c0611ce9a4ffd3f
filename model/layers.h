// The parameterised pieces that CLIP, compressor, pre-fusion and language model are made of. Built
// once at load, then only read: safe from any thread.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "model/checkpoint/checkpoint.h"

namespace llavamini {

// y = x Wᵀ + b.
struct Linear {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out], or undefined

  at::Tensor operator()(const at::Tensor& x) const;  // [.., in] → [.., out]
};

// Mean and variance over the last dimension.
struct LayerNorm {
  at::Tensor weight;  // [width]
  at::Tensor bias;    // [width]
  double eps = 1e-5;

  at::Tensor operator()(const at::Tensor& x) const;
};

// x / sqrt(mean(x²) + eps) · weight, the mean in float32.
struct RmsNorm {
  at::Tensor weight;  // [width]
  double eps = 1e-5;

  at::Tensor operator()(const at::Tensor& x) const;
};

Linear LoadLinear(Checkpoint& checkpoint, const std::string& prefix, int64_t in, int64_t out,
                  bool with_bias);
LayerNorm LoadLayerNorm(Checkpoint& checkpoint, const std::string& prefix, int64_t width,
                        double eps);
RmsNorm LoadRmsNorm(Checkpoint& checkpoint, const std::string& prefix, int64_t width, double eps);

// Several layers of the same input as one product; their outputs stand one after another.
Linear Fuse(const std::vector<Linear>& parts);

}  // namespace llavamini
