// The parameterised pieces that CLIP, compressor, pre-fusion and language model are made of. Built
// once at load, then only read: safe from any thread.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "model/ops.h"

namespace llavamini {

// y = x Wᵀ + b.
struct Linear : ops::Weights {
  at::Tensor operator()(const at::Tensor& x) const;  // [.., in] → [.., out]
  // The same plus residual [.., out].
  at::Tensor Add(const at::Tensor& x, const at::Tensor& residual) const;
  // Added to sum [.., out], in place.
  void AddTo(at::Tensor& sum, const at::Tensor& x) const;
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

// Its weight in e4m3 from here on, the one that it came with let go; what could not be loaded stays
// undefined.
void Quantize(Linear& linear);

Linear LoadLinear(Checkpoint& checkpoint, const std::string& prefix, int64_t in, int64_t out,
                  bool with_bias);
LayerNorm LoadLayerNorm(Checkpoint& checkpoint, const std::string& prefix, int64_t width,
                        double eps);
RmsNorm LoadRmsNorm(Checkpoint& checkpoint, const std::string& prefix, int64_t width, double eps);

// Several layers of the same input as one product; their outputs, of `outs` each, stand one after
// another.
Linear LoadStacked(Checkpoint& checkpoint, const std::vector<std::string>& prefixes, int64_t in,
                   const std::vector<int64_t>& outs, bool with_bias);

}  // namespace llavamini
