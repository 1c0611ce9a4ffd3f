// A chain of products as the blocks of StreamWeights see it (stream_weights.cu says how it runs): how a product is cut, and where in a
// block's shared memory everything lies.
// A product's weights are cut into units of 16 rows, and K into spans of 128 bytes. A cluster takes an equal share of the units, in tiles;
// a tile's copies of one or some spans are a stage, which has a slot of the ring: for each span the rows of x, then the units.
#pragma once

#include "model/cuda/cluster.cuh"
#include "model/cuda/fragments.cuh"
#include "model/cuda/kernels.h"

namespace llavamini::kernels::stream {

constexpr int kSplit = 2;                    // blocks of a cluster, each with its part of K
constexpr int kWarps = 8;                    // of a block, that multiply
constexpr int kThreads = 32 * (kWarps + 2);  // a warp more copies weights, one copies rows
constexpr int kUnit = 16;                    // rows of weights of a copy, and of a matrix instruction
constexpr int kMostUnits = 2 * kWarps;       // of a tile
constexpr int kSpanBytes = 128;              // of K: what the copies' swizzle spans
constexpr int kUnitBytes = kUnit * kSpanBytes;
constexpr int kBoxK = 64;         // of one copy of rows of x, which has 16 bits
constexpr int kAlignment = 1024;  // of a copy in shared memory
constexpr int kMostStages = 12;
constexpr int kScalesBytes = kMostStreamedRows * 4;
constexpr int kBarrierBytes = 8 * (2 * kMostStages + 3);

template <typename Weight>
constexpr int kSpanK = kSpanBytes / static_cast<int>(sizeof(Weight));

// Of x, per span; columns: of the product, which are x's rows.
__host__ __device__ constexpr int RowsBytes(int columns, int weight_bytes) {
  return kSpanBytes / weight_bytes / kBoxK * columns * kSpanBytes;
}
__host__ __device__ constexpr int SpanBytes(int columns, int weight_bytes, int units) {
  return RowsBytes(columns, weight_bytes) + units * kUnitBytes;
}
// Floats between the sums of a column and of the next: that spreads stores over the banks.
__host__ __device__ constexpr int Pitch(int units) { return units * kUnit + 4; }

// Shares are units; gated, pairs of a unit of gates and the unit of ups that belongs to it.
struct Cut {
  int shares;  // of all clusters
  int tile;    // shares of a tile, at most
  int units;   // of a tile, at most
  int parts;   // of each span: with few units two warps share one
  int spans;   // of a stage, at most
};

struct Phase {
  CUtensorMap weights, rows;
  const float* scales;
  const void* residual;
  void* y;
  const void* next_norm;
  void* weighted;
  int n, k;
  bool gated, normed;
  Cut cut;
};

struct Chain {
  Phase phases[kMostChained];
  int count, rows;
  float eps;
  int stages, stage_bytes, exchange_bytes;
  float* squares;                // [kMostChained, clusters, kMostStreamedRows]: sums of squares of what each cluster made of a row
  unsigned long long* arrivals;  // of blocks at the ends of phases, ever; then how many of them each block's own were
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// Goes around the ring.
struct Slot {
  int index = 0, parity = 0;
  bool first_round = true;

  __device__ void Advance(int slots) {
    if (++index < slots) return;
    index = 0;
    parity ^= 1;
    first_round = false;
  }
};

struct Tile {
  int share;  // its first
  int units;
  int half;   // gated: the first half of the units are gates, the others ups; else all of them
  int up;     // rows of weights between the last gate and the first up
  bool first, last;  // of the cluster's

  // The first row of weights of a unit.
  __device__ int Row(int unit) const { return (share + unit) * kUnit + (unit >= half ? up : 0); }
};

template <typename Element, typename WeightElement, int kMostColumns>
struct Block {
  using T = Element;
  using Weight = WeightElement;
  static constexpr int kColumns = kMostColumns;
  static constexpr int kOwned = kColumns / kSplit;  // columns that a block adds up
  static constexpr int kRowsBytes = RowsBytes(kColumns, sizeof(Weight));

  const Chain& chain;
  // Shared addresses. Barriers: of each slot, that it is full (two copying warps) and empty again (kWarps); that all parts of this block's
  // columns are received; that both blocks may send again; that this block has finished a phase (kWarps).
  uint32_t ring, full, empty, received, may_send, finished;
  float* exchange;    // [kSplit · parts, kOwned, pitch]: what this block's columns are added up from
  float* row_scales;  // [kOwned], of a normed phase
  const int rank, cluster, clusters;

  __device__ Block(const Chain& c, unsigned char* shared)
      : chain(c), rank(static_cast<int>(ClusterRank())), cluster(blockIdx.x / kSplit), clusters(gridDim.x / kSplit) {
    const uint32_t start = SharedAddress(shared);
    ring = (start + kAlignment - 1) / kAlignment * kAlignment;
    const uint32_t behind = ring + chain.stages * chain.stage_bytes;
    exchange = reinterpret_cast<float*>(shared + (behind - start));
    row_scales = exchange + chain.exchange_bytes / 4;
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
    BarrierInit(finished, kWarps);
    BarrierInitDone();
  }

  __device__ uint32_t StageAt(const Slot& slot) const { return ring + slot.index * chain.stage_bytes; }
  __device__ int Spans(const Phase& p) const { return p.k / kSplit / kSpanK<Weight>; }
  __device__ int FirstK(const Phase& p) const { return rank * (p.k / kSplit); }
  __device__ int OwnColumns() const { return max(0, min(kOwned, chain.rows - rank * kOwned)); }

  // Calls with each tile of this cluster.
  template <typename Function>
  __device__ void ForTiles(const Phase& p, Function function) const {
    const int first = p.cut.shares * cluster / clusters, last = p.cut.shares * (cluster + 1) / clusters;
    for (int share = first; share < last; share += p.cut.tile) {
      const int shares = min(p.cut.tile, last - share);
      function(Tile{share, p.gated ? 2 * shares : shares, shares, p.gated ? p.n / 2 - shares * kUnit : 0, share == first,
                    share + p.cut.tile >= last});
    }
  }
};

#endif

}  // namespace llavamini::kernels::stream
