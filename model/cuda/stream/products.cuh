// The warps of a block that multiply: each takes one or two units of a tile, or half of each span of one, times all rows of x.
#pragma once

#include "model/cuda/fragments.cuh"
#include "model/cuda/sm90/warp_group.cuh"
#include "model/cuda/stream/chain.cuh"
#include "model/cuda/stream/wider.cuh"

namespace llavamini::kernels::stream {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Of the units `unit` and unit + kWarps, by eight columns.
template <typename Block, int kUnits>
using Sums = float[kUnits][Block::kColumns / 8][4];

// One part of one span, by this warp's group: its first product's units begin at `unit`, its second one's kWarps behind. `add`:
// to what c holds; else c is set.
template <typename Block, int kUnits, int kParts>
__device__ void MultiplySpan(uint32_t span, int unit, int part, bool add, Sums<Block, kUnits>& c) {
  constexpr int kProducts = kSpanBytes / 32 / kParts;  // of 16 K's
#pragma unroll
  for (int i = 0; i < kProducts; ++i) {
    const uint32_t at = span + (part * kProducts + i) * 32;
    const uint64_t rows = GroupOperand(at);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      GroupMultiplyAdd<typename Block::T>(c[u], GroupOperand(at + Block::kRowsBytes + (unit + u * kWarps) * kUnitBytes), rows, i > 0 || add);
    }
  }
}

// Calls with each stage of a tile and where it lies, once it is full, and gives its slot back.
template <typename Block, typename Function>
__device__ void TakeStages(const Block& b, const Phase& p, Slot& slot, Function use) {
  b.ForStages(p, [&](const Stage& stage) {
    BarrierWait(b.full + 8 * slot.index, slot.parity);
    use(stage, b.StageAt(slot));
    __syncwarp();
    if (threadIdx.x % 32 == 0) BarrierArrive(b.empty + 8 * slot.index);
    slot.Advance(b.chain.stages);
  });
}

// A warp group's share of a tile.
template <typename Block, int kUnits, int kParts>
__device__ void MultiplyTile(const Block& b, const Phase& p, const Tile& tile, int first, int part, Slot& slot, Sums<Block, kUnits>& c) {
  const int span_bytes = Block::kRowsBytes + tile.units * kUnitBytes;
  TakeStages(b, p, slot, [&](const Stage& stage, uint32_t at) {
    GroupBegin();
    for (int i = 0; i < stage.spans; ++i) {
      MultiplySpan<Block, kUnits, kParts>(at + i * span_bytes, first, part, i > 0 || !stage.first, c);
    }
    GroupCommit();
    GroupWait();
  });
}

// One part of one span of e4m3 weights, by this warp. Its rows are 128 bytes, eight pieces of 16; piece i of row r lies at place
// i ^ (r % 8). A lane's four bytes are K's 4t … 4t + 3 of sixteen, so it takes the same four of x.
template <typename Block, int kUnits, int kParts>
__device__ void MultiplyE4m3Span(uint32_t span, int unit, int part, Sums<Block, kUnits>& c) {
  using W = Wider<Block>;
  constexpr int kSixteens = kSpanBytes / 32 / kParts;  // of sixteen K's
  constexpr int kNextUnit = kWarps * kUnitBytes;
  const int lane = threadIdx.x % 32, in_matrix = lane % 8, matrix = lane / 8, g = lane / 4, t = lane % 4;
  const uint32_t a_row = span + Block::kRowsBytes + (unit * kUnit + matrix % 2 * 8 + in_matrix) * kSpanBytes;
  const auto* b_row = static_cast<const unsigned char*>(__cvta_shared_to_generic(span)) + g * kSpanBytes + t % 2 * 8;
#pragma unroll
  for (int i = 0; i < kSixteens; ++i) {
    const int pair = part * kSixteens + i;
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
        for (int r = 0; r < 4; ++r) wide[u][r] = W::Weights(a[u][2 * half + r % 2], r / 2);
      }
#pragma unroll
      for (int j = 0; j < Block::kColumns / 8; ++j) {
        const int row = sixteen / 4 * Block::kColumns + j * 8;
        const uint2 b = *reinterpret_cast<const uint2*>(b_row + row * kSpanBytes + ((piece ^ g) << 4));
        const unsigned low = W::Rows(b.x), high = W::Rows(b.y);
#pragma unroll
        for (int u = 0; u < kUnits; ++u) MultiplyAdd<typename W::Operand>(c[u][j], wide[u], low, high);
      }
    }
  }
}

// A warp's share of a tile.
template <typename Block, int kUnits, int kParts>
__device__ void MultiplyE4m3Tile(const Block& b, const Phase& p, const Tile& tile, int unit, int part, Slot& slot, Sums<Block, kUnits>& c) {
  const int span_bytes = Block::kRowsBytes + tile.units * kUnitBytes;
  TakeStages(b, p, slot, [&](const Stage& stage, uint32_t at) {
    for (int i = 0; i < stage.spans; ++i) MultiplyE4m3Span<Block, kUnits, kParts>(at + i * span_bytes, unit, part, c);
  });
}

// The first of the units that a warp's products take: its own, or of 16-bit weights its group's first.
template <typename Block>
__device__ int FirstUnit(int unit) {
  return Block::kE4m3 ? unit : unit / kGroup * kGroup;
}

// A warp's part of a tile, however it is shared.
template <typename Block, int kUnits, int kParts>
__device__ void Multiply(const Block& b, const Phase& p, const Tile& tile, int unit, int part, Slot& slot, Sums<Block, kUnits>& c) {
  const int first = FirstUnit<Block>(unit);
  if constexpr (Block::kE4m3) {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
#pragma unroll
      for (int j = 0; j < Block::kColumns / 8; ++j) c[u][j][0] = c[u][j][1] = c[u][j][2] = c[u][j][3] = 0;
    }
    MultiplyE4m3Tile<Block, kUnits, kParts>(b, p, tile, first, part, slot, c);
  } else {
    MultiplyTile<Block, kUnits, kParts>(b, p, tile, first, part, slot, c);
  }
}

#endif

}  // namespace llavamini::kernels::stream
