// Rows in eight bits: e4m3 (finite, ±448) times one float32 scale per row. Weights are made so at
// load (MultiplyFewRows takes them), activations before a product of both. Raw device pointers and
// a stream; asynchronous, the caller checks cudaGetLastError().
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/cuda/kernels.h"

namespace llavamini::kernels {

inline constexpr float kLargestE4m3 = 448;

struct QuantizedRows {
  const void* x;  // [rows, width]
  int64_t x_stride;
  uint8_t* values;  // out [rows, width], e4m3, contiguous
  float* scales;    // out [rows]
  int64_t rows;
  int width;
  const void* norm_weight = nullptr;  // [width]: x / sqrt(mean(x²) + eps) · this is quantised
  float eps = 0;
};

// scale = max |x| / 448, at least the smallest normal float; values = x / scale, to the nearest,
// ties to even. A row with a NaN has scale NaN. What a norm gives is not rounded to x's type in
// between. Width and x_stride are multiples of 8.
bool CanQuantizeRows(const QuantizedRows& problem);
void QuantizeRows(Element type, const QuantizedRows& problem, cudaStream_t stream);

}  // namespace llavamini::kernels
