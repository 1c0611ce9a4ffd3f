// The two warps of a block that fill the ring: one with weights, which depend on nothing and run ahead as far as the ring reaches, one with
// the rows of x, as soon as they are there.
#pragma once

#include "model/cuda/launch.cuh"
#include "model/cuda/stream_chain.cuh"

namespace llavamini::kernels::stream {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

template <typename Block>
__device__ void CopyWeights(const Block& b) {
  constexpr int kK = kSpanK<typename Block::Weight>;
  const int lane = threadIdx.x % 32;
  Slot slot;
  for (int phase = 0; phase < b.chain.count; ++phase) {
    const Phase& p = b.chain.phases[phase];
    const int all = b.Spans(p), first_k = b.FirstK(p);
    b.ForTiles(p, [&](const Tile& tile) {
      const int unit = lane % tile.units, span = lane / tile.units, row = tile.Row(unit);
      const int offset = span * (Block::kRowsBytes + tile.units * kUnitBytes) + Block::kRowsBytes + unit * kUnitBytes;
      for (int at = 0; at < all; at += p.cut.spans, slot.Advance(b.chain.stages)) {
        const int spans = min(p.cut.spans, all - at);
        const uint32_t barrier = b.full + 8 * slot.index;
        if (!slot.first_round) BarrierWait(b.empty + 8 * slot.index, slot.parity ^ 1);
        if (lane == 0) BarrierExpect(barrier, spans * tile.units * kUnitBytes);
        __syncwarp();
        if (span >= spans) continue;
        CopyBox(b.StageAt(slot) + offset, &p.weights, first_k + (at + span) * kK, row, barrier, kEvictFirst);
      }
    });
  }
}

// Until every block has finished the phase: there have been so many arrivals.
template <typename Block>
__device__ void AwaitAllBlocks(const Block& b, int phase, unsigned long long wanted) {
  BarrierWait(b.finished, phase % 2);
  if (threadIdx.x % 32 == 0) {
    AddRelease(b.chain.arrivals, 1);
    while (LoadAcquire(b.chain.arrivals) < wanted) {
    }
    FenceBeforeCopies();
  }
  __syncwarp();
}

// Rows are there when the kernels ahead are done, or all blocks with the phase before.
template <typename Block>
__device__ void CopyRows(const Block& b) {
  constexpr int kK = kSpanK<typename Block::Weight>, kBoxes = kK / kBoxK;
  const int lane = threadIdx.x % 32, span = lane / kBoxes, box = lane % kBoxes;
  AwaitEarlierKernels();
  unsigned long long* own_arrivals = b.chain.arrivals + 1 + blockIdx.x;
  const unsigned long long before = *own_arrivals;
  Slot slot;
  for (int phase = 0; phase < b.chain.count; ++phase) {
    const Phase& p = b.chain.phases[phase];
    const int all = b.Spans(p), first_k = b.FirstK(p) + box * kBoxK;
    if (phase > 0) AwaitAllBlocks(b, phase - 1, (before + phase) * gridDim.x);
    b.ForTiles(p, [&](const Tile& tile) {
      const int offset = span * (Block::kRowsBytes + tile.units * kUnitBytes) + box * Block::kColumns * kSpanBytes;
      for (int at = 0; at < all; at += p.cut.spans, slot.Advance(b.chain.stages)) {
        const int spans = min(p.cut.spans, all - at);
        const uint32_t barrier = b.full + 8 * slot.index;
        if (!slot.first_round) BarrierWait(b.empty + 8 * slot.index, slot.parity ^ 1);
        if (lane == 0) BarrierExpect(barrier, spans * Block::kRowsBytes);
        __syncwarp();
        if (span >= spans) continue;
        CopyBox(b.StageAt(slot) + offset, &p.rows, first_k + (at + span) * kK, 0, barrier, kEvictLast);
      }
    });
  }
  if (lane == 0) *own_arrivals = before + b.chain.count - 1;
}

#endif

}  // namespace llavamini::kernels::stream
