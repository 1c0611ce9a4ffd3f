// The warps of a block that multiply: each takes one or two units of a tile, or half of each span of one, times all rows of x.
#pragma once

#include "model/cuda/e4m3.cuh"
#include "model/cuda/fragments.cuh"
#include "model/cuda/stream_chain.cuh"

namespace llavamini::kernels::stream {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// Of the units `unit` and unit + kWarps, by eight columns.
template <typename Block>
using Sums = float[2][Block::kColumns / 8][4];

// One part of one span. Its rows are 128 bytes, eight pieces of 16; piece i of row r lies at place i ^ (r % 8).
template <typename Block, int kUnits, int kParts>
__device__ void MultiplySpan(uint32_t span, int unit, int part, Sums<Block>& c) {
  using T = typename Block::T;
  constexpr int kPairs = kSpanBytes / 32 / kParts / 2;  // of 32 K's
  constexpr int kNextUnit = kWarps * kUnitBytes;
  const int lane = threadIdx.x % 32, in_matrix = lane % 8, matrix = lane / 8;
  const uint32_t a_row = span + Block::kRowsBytes + (unit * kUnit + matrix % 2 * 8 + in_matrix) * kSpanBytes;
  const uint32_t b_row = span + in_matrix * kSpanBytes;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = part * kPairs + i;
    unsigned a[2][kUnits][4];  // of sixteen K's each
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        LoadMatrices(a[half][u], a_row + u * kNextUnit + (((4 * pair + 2 * half + matrix / 2) ^ in_matrix) << 4));
      }
    }
#pragma unroll
    for (int j = 0; j < Block::kColumns / 8; ++j) {
      unsigned b[4];
      LoadMatrices(b, b_row + j * 8 * kSpanBytes + (((4 * pair + matrix) ^ in_matrix) << 4));
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        MultiplyAdd<T>(c[u][j], a[0][u], b[0], b[1]);
        MultiplyAdd<T>(c[u][j], a[1][u], b[2], b[3]);
      }
    }
  }
}

// The same of e4m3 weights: a lane's four bytes are K's 4t … 4t + 3 of sixteen, so it takes the same four of x.
template <typename Block, int kUnits, int kParts>
__device__ void MultiplyE4m3Span(uint32_t span, int unit, int part, Sums<Block>& c) {
  using T = typename Block::T;
  constexpr int kPairs = kSpanBytes / 32 / kParts;  // of sixteen K's
  constexpr int kNextUnit = kWarps * kUnitBytes;
  const int lane = threadIdx.x % 32, in_matrix = lane % 8, matrix = lane / 8, g = lane / 4, t = lane % 4;
  const uint32_t a_row = span + Block::kRowsBytes + (unit * kUnit + matrix % 2 * 8 + in_matrix) * kSpanBytes;
  const auto* b_row = static_cast<const unsigned char*>(__cvta_shared_to_generic(span)) + g * kSpanBytes + t % 2 * 8;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = part * kPairs + i;
    unsigned a[kUnits][4];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      LoadMatrices(a[u], a_row + u * kNextUnit + (((2 * pair + matrix / 2) ^ in_matrix) << 4));
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int sixteen = 2 * pair + half, piece = sixteen % 4 * 2 + t / 2;
      unsigned wide[kUnits][4];
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
#pragma unroll
        for (int r = 0; r < 4; ++r) wide[u][r] = SpreadPair<T>(a[u][2 * half + r % 2], r / 2);
      }
#pragma unroll
      for (int j = 0; j < Block::kColumns / 8; ++j) {
        const int row = sixteen / 4 * Block::kColumns + j * 8;
        const uint2 b = *reinterpret_cast<const uint2*>(b_row + row * kSpanBytes + ((piece ^ g) << 4));
#pragma unroll
        for (int u = 0; u < kUnits; ++u) MultiplyAdd<T>(c[u][j], wide[u], b.x, b.y);
      }
    }
  }
}

// This warp's share of a tile.
template <typename Block, int kUnits, int kParts>
__device__ void MultiplyTile(const Block& b, const Phase& p, const Tile& tile, int unit, int part, Slot& slot, Sums<Block>& c) {
  const int all = b.Spans(p), span_bytes = Block::kRowsBytes + tile.units * kUnitBytes;
  for (int at = 0; at < all; at += p.cut.spans, slot.Advance(b.chain.stages)) {
    const int spans = unit < tile.units ? min(p.cut.spans, all - at) : 0;
    BarrierWait(b.full + 8 * slot.index, slot.parity);
    const uint32_t stage = b.StageAt(slot);
    for (int i = 0; i < spans; ++i) {
      if constexpr (sizeof(typename Block::Weight) == 1) {
        MultiplyE4m3Span<Block, kUnits, kParts>(stage + i * span_bytes, unit, part, c);
      } else {
        MultiplySpan<Block, kUnits, kParts>(stage + i * span_bytes, unit, part, c);
      }
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) BarrierArrive(b.empty + 8 * slot.index);
  }
}

#endif

}  // namespace llavamini::kernels::stream
