// The two warps of a block that fill the ring: one with weights, which depend on nothing and run ahead as far as the ring reaches, one with
// the rows of x, as soon as they are there. And the one that tells other blocks of rows that this one has made.
#pragma once

#include "model/cuda/launch.cuh"
#include "model/cuda/stream/chain.cuh"

namespace llavamini::kernels::stream {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Calls with where a stage is to be copied to and the barrier that gets its bytes, so many of them from this warp, once its slot is empty.
template <typename Block, typename Function>
__device__ void FillStage(const Block& b, Slot& slot, unsigned bytes, Function copy) {
  const uint32_t barrier = b.full + 8 * slot.index;
  if (!slot.first_round) BarrierWait(b.empty + 8 * slot.index, slot.parity ^ 1);
  if (threadIdx.x % 32 == 0) BarrierExpect(barrier, bytes);
  __syncwarp();
  copy(b.StageAt(slot), barrier);
  slot.Advance(b.chain.stages);
}

template <typename Block>
__device__ void CopyWeights(const Block& b) {
  constexpr int kK = kSpanK<typename Block::Weight>;
  const int lane = threadIdx.x % 32;
  Slot slot;
  for (int phase = 0; phase < b.chain.count; ++phase) {
    const Phase& p = b.chain.phases[phase];
    b.ForTiles(p, [&](const Tile& tile) {
      const int unit = lane % tile.units, span = lane / tile.units, pair = (tile.first + unit) * kPairs;
      const int offset = span * (Block::kRowsBytes + tile.units * kUnitBytes) + Block::kRowsBytes + unit * kUnitBytes;
      b.ForStages(p, [&](const Stage& stage) {
        FillStage(b, slot, stage.spans * tile.units * kUnitBytes, [&](uint32_t at, uint32_t barrier) {
          if (span < stage.spans) CopyPairs(at + offset, &p.weights, stage.k + span * kK, pair, barrier, kEvictFirst);
        });
      });
    });
  }
}

// Until blocks have come to ends of first, or second, runs so many times, ever. (One number for all blocks: to look at a number per block
// costs more than to add to a common one.)
template <typename Block>
__device__ void AwaitArrivals(const Block& b, int run, unsigned long long wanted) {
  if (threadIdx.x % 32 == 0) {
    while (LoadRelaxed(b.chain.arrivals + run * kCountersApart) < wanted) {
    }
    FenceAcquire();
    FenceBeforeCopies();
  }
  __syncwarp();
}

// Rows are there when the kernels ahead are done, or all blocks with the run that makes them.
template <typename Block>
__device__ void CopyRows(const Block& b) {
  constexpr int kK = kSpanK<typename Block::Weight>, kBoxes = kK / kBoxK;
  const int lane = threadIdx.x % 32, span = lane / kBoxes, box = lane % kBoxes;
  AwaitEarlierKernels();
  static_assert(kMostRuns == 2);
  unsigned long long arrivals[kMostRuns];  // when all blocks have ended what is before the product before
#pragma unroll
  for (int run = 0; run < kMostRuns; ++run) arrivals[run] = LoadRelaxed(b.chain.arrivals_before + run * kCountersApart);
  Slot slot;
  for (int phase = 0; phase < b.chain.count; ++phase) {
    const Phase& p = b.chain.phases[phase];
    int awaited = phase > 0 ? 0 : p.k_runs;  // of the product before
    b.ForTiles(p, [&](const Tile& tile) {
      const int offset = span * (Block::kRowsBytes + tile.units * kUnitBytes) + box * Block::kColumns * kSpanBytes;
      b.ForStages(p, [&](const Stage& stage) {
        if (stage.run >= awaited) {
          AwaitArrivals(b, stage.run, (stage.run == 0 ? arrivals[0] : arrivals[1]) + gridDim.x);
          ++awaited;
        }
        FillStage(b, slot, stage.spans * Block::kRowsBytes, [&](uint32_t at, uint32_t barrier) {
          if (span < stage.spans) CopyBox(at + offset, &p.rows, stage.k + span * kK + box * kBoxK, 0, barrier, kEvictLast);
        });
      });
    });
#pragma unroll
    for (int run = 0; run < kMostRuns; ++run) arrivals[run] += phase > 0 && run < p.k_runs ? gridDim.x : 0;
  }
#pragma unroll
  for (int run = 0; run < kMostRuns; ++run) {
    if (blockIdx.x == 0 && lane == 0) b.chain.arrivals_before[run * kCountersApart] = arrivals[run];  // all have read it
  }
}

// Tells the others of the ends of this block's runs.
template <typename Block>
__device__ void TellEnds(const Block& b) {
  int ended[kMostRuns] = {};
  for (int phase = 0; phase + 1 < b.chain.count; ++phase) {
#pragma unroll
    for (int run = 0; run < kMostRuns; ++run) {
      if (run >= b.chain.phases[phase].cut.runs) continue;
      BarrierWait(b.finished + 8 * run, ended[run]++ % 2);
      if (threadIdx.x % 32 == 0) AddRelease(b.chain.arrivals + run * kCountersApart, 1);
    }
  }
}

#endif

}  // namespace llavamini::kernels::stream
