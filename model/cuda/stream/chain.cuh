// A chain of products as the blocks of StreamWeights see it (stream_weights.cu says how it runs), and where everything lies in a block's
// shared memory.
#pragma once

#include "model/cuda/fragments.cuh"
#include "model/cuda/kernels.h"
#include "model/cuda/sm90/cluster.cuh"
#include "model/cuda/sm90/slot.cuh"
#include "model/cuda/stream/cut.h"

namespace llavamini::kernels::stream {

template <typename Weight>
constexpr int kSpanK = kSpanBytes / static_cast<int>(sizeof(Weight));

constexpr int kCountersApart = 32;  // numbers that blocks count in: not in one line of the cache

struct Phase {
  CUtensorMap weights, rows;
  const float* scales;
  const void* residual;
  void* y;
  const void* next_norm;
  void* weighted;
  int n, k;
  int k_runs;  // of the product before
  bool gated, normed;
  Cut cut;
};

struct Chain {
  Phase phases[kMostChained];
  int count, rows;
  float eps;
  int stages, stage_bytes, exchange_bytes;
  float* squares;  // [kMostChained, clusters, kSplit, kMostOwned]: sums of squares of what each cluster made of a row, by the block that adds it up
  // [kMostRuns], kCountersApart apart: how often blocks have come to the end of a product's first run, ever, and of its second; and what
  // that was when this chain began. (Two numbers, since a block may end the second run while another is at the first: nothing else is
  // ended by one block before all have ended what it needs.)
  unsigned long long *arrivals, *arrivals_before;
};

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

struct Tile {
  int run;
  int first, units;  // of the product's units
  bool begins;       // the cluster's first
  bool ends;         // the cluster's last of a run
};

struct Stage {
  int run;  // of the product before, that made its K's
  int k;    // the first of them
  int spans;
  bool first;  // of the tile's
};

template <typename Element, typename WeightElement, int kMostColumns>
struct Block {
  using T = Element;
  using Weight = WeightElement;
  static constexpr int kColumns = kMostColumns;
  static constexpr int kOwned = kColumns / kSplit;  // column 2 i + rank is this block's i-th
  static constexpr bool kE4m3 = sizeof(Weight) == 1;
  static constexpr int kRowsBytes = RowsBytes(kColumns, sizeof(Weight));

  const Chain& chain;
  // Shared addresses. Barriers: of each slot, that it is full (two copying warps) and empty again (kWarps); that all parts of this block's
  // columns are received; that both blocks may send again; [kMostRuns] that this block has finished a product's first run (kWarps),
  // and its second.
  uint32_t ring, full, empty, received, may_send, finished;
  float2* exchange;   // [sources, pairs of a thread, threads]: what others have of the sums that this block's threads add up
  float* row_scales;  // [kOwned], of a normed phase
  float* squares;     // [kWarps, kOwned], of a tile
  const int rank, cluster, clusters;

  __device__ Block(const Chain& c, unsigned char* shared)
      : chain(c), rank(static_cast<int>(blockIdx.x % kSplit)), cluster(blockIdx.x / kSplit), clusters(gridDim.x / kSplit) {
    const uint32_t start = SharedAddress(shared);
    ring = (start + kAlignment - 1) / kAlignment * kAlignment;
    const uint32_t behind = ring + chain.stages * chain.stage_bytes;
    exchange = reinterpret_cast<float2*>(shared + (behind - start));
    row_scales = reinterpret_cast<float*>(exchange) + chain.exchange_bytes / 4;
    squares = row_scales + kOwned;
    full = behind + chain.exchange_bytes + kScalesBytes;
    empty = full + 8 * chain.stages;
    received = empty + 8 * chain.stages;
    may_send = received + 8;
    finished = may_send + 8;
  }

  __device__ void InitBarriers() const {
    for (int i = 0; i < chain.stages; ++i) {
      BarrierInit(full + 8 * i, 2);
      BarrierInit(empty + 8 * i, kWarps);
    }
    BarrierInit(received, 1);
    BarrierInit(may_send, kSplit);
    for (int run = 0; run < kMostRuns; ++run) BarrierInit(finished + 8 * run, kWarps);
    BarrierInitDone();
  }

  __device__ uint32_t StageAt(const Slot& slot) const { return ring + slot.index * chain.stage_bytes; }
  __device__ int OwnColumns() const { return (chain.rows + 1 - rank) / kSplit; }

  // Calls with each tile of this cluster.
  template <typename Function>
  __device__ void ForTiles(const Phase& p, Function function) const {
    for (int run = 0; run < p.cut.runs; ++run) {
      const int first = p.cut.units * run + p.cut.units * cluster / clusters;
      const int last = p.cut.units * run + p.cut.units * (cluster + 1) / clusters;
      for (int unit = first; unit < last; unit += p.cut.tile) {
        function(Tile{run, unit, min(p.cut.tile, last - unit), run == 0 && unit == first, unit + p.cut.tile >= last});
      }
    }
  }

  // Calls with each stage of a tile.
  template <typename Function>
  __device__ void ForStages(const Phase& p, Function function) const {
    const int all = p.k / p.k_runs / kSplit / kSpanK<Weight>;
    for (int run = 0; run < p.k_runs; ++run) {
      const int first = (run * kSplit + rank) * all * kSpanK<Weight>;
      for (int at = 0; at < all; at += p.cut.spans) {
        function(Stage{run, first + at * kSpanK<Weight>, min(p.cut.spans, all - at), run == 0 && at == 0});
      }
    }
  }
};

#endif

}  // namespace llavamini::kernels::stream
