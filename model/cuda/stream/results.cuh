// How the sums of a tile become results. What a thread has of a tile are pairs (of adjacent rows of y, or of a gate and its up) by
// columns; the same thread of the other block of the cluster, and where two warps share each span, of the other warp, has the rest of
// the same ones. Each adds up its share of the columns: a block every other one, of two warps one even eights of them, one odd ones.
#pragma once

#include "model/cuda/stream/chain.cuh"
#include "model/cuda/stream/wider.cuh"

namespace llavamini::kernels::stream {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// All warps that multiply.
__device__ inline void SyncMultiplying() { asm volatile("bar.sync 1, %0;" ::"n"(kMultiplying) : "memory"); }

// Of adjacent elements of a column.
template <typename T>
struct __align__(4) Pair {
  T low, high;

  __device__ static Pair Of(float2 x) { return {FromFloat<T>(x.x), FromFloat<T>(x.y)}; }
  __device__ float2 Floats() const { return {ToFloat(low), ToFloat(high)}; }
  // What other blocks may have written during this kernel.
  __device__ static Pair Load(const void* base, int64_t at) {
    const unsigned bits = __ldcg(reinterpret_cast<const unsigned*>(static_cast<const T*>(base) + at));
    return *reinterpret_cast<const Pair*>(&bits);
  }
  __device__ void Store(void* base, int64_t at) const { *reinterpret_cast<Pair*>(static_cast<T*>(base) + at) = *this; }
};

// As if gate and up had been stored between.
template <typename T>
__device__ float Gated(float gate, float up) {
  gate = ToFloat(FromFloat<T>(gate));
  return gate / (1.0f + __expf(-gate)) * ToFloat(FromFloat<T>(up));
}

// A thread's part of a tile, shared in so many parts, with so many units for each warp.
template <typename Block, int kUnits, int kParts>
struct Results {
  using T = typename Block::T;
  static constexpr int kBlocks = Block::kColumns / 8;                   // of columns
  static constexpr int kMine = (kBlocks + kParts - 1) / kParts;         // of them, in a unit
  static constexpr int kOtherPart = kMultiplying / 2;  // a thread of it: this one with this bit turned
  static constexpr int kOtherBlock = 0, kOtherWarp = 1, kOtherBoth = 2;  // sources
  using AllSums = float[kUnits][kBlocks][4];

  const Block& b;
  const Phase& p;
  const Tile& tile;
  const int unit, part;  // units unit and unit + kWarps
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;

  // That others send of a tile: the other block, from each part, and the other part.
  __device__ unsigned ExpectedBytes() const { return (2 * kParts - 1) * b.OwnColumns() * tile.units * kUnit * static_cast<int>(sizeof(float)); }

  // Everything to whoever adds it up, but what this thread does itself.
  __device__ void Send(const AllSums& c) const {
    const int other = b.rank ^ 1;
    const uint32_t own = SharedAddress(b.exchange), others = AddressIn(own, other), others_received = AddressIn(b.received, other);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (!Has(u)) continue;
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        const bool mine = IsMine(j);
        const int thread = mine ? threadIdx.x : threadIdx.x ^ kOtherPart;
        if (Column(j, other) < b.chain.rows) StoreIn(others + At(mine ? kOtherBlock : kOtherBoth, u, j, thread), Of(c[u][j], other), others_received);
        if (!mine && Column(j, b.rank) < b.chain.rows) {
          StoreIn(AddressIn(own + At(kOtherWarp, u, j, thread), b.rank), Of(c[u][j], b.rank), AddressIn(b.received, b.rank));
        }
      }
    }
  }

  // What Finish() needs from memory, asked for before the products: that way is long while weights are on theirs.
  struct Early {
    Pair<T> residual[kUnits][kMine], next_norm[kUnits];
    float2 scales[kUnits];  // of e4m3 weights
  };
  __device__ Early LoadEarly() const {
    Early early = {};
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (!Has(u)) continue;
      if constexpr (Block::kE4m3) early.scales[u] = ScalesOf(p.scales + Row(u));
      if (p.gated) continue;
      if (p.next_norm != nullptr) early.next_norm[u] = Pair<T>::Load(p.next_norm, Row(u));
      if (p.residual == nullptr) continue;
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        if (IsMine(j) && Column(j, b.rank) < b.chain.rows) early.residual[u][j / kParts] = Pair<T>::Load(p.residual, Y(u, j));
      }
    }
    return early;
  }

  // Loops have as many rounds in all lanes, and nothing but loads and stores depends on the lane: else the compiler takes what follows,
  // the next tile's products of warp groups, for divergent.

  // This thread's sums, to y; the sum of squares of what its warp made of each column, to b.squares.
  __device__ void Finish(const AllSums& c, const Early& early) const {
    float squares[kBlocks] = {};
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (!Has(u)) continue;
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        if (!IsMine(j)) continue;
        float2 sum = Scaled(Sum(c, u, j), 4 * j + t);
        if constexpr (Block::kE4m3) sum = {sum.x * early.scales[u].x, sum.y * early.scales[u].y};
        const bool is_row = Column(j, b.rank) < b.chain.rows;
        if (p.gated) {
          const T y = FromFloat<T>(Gated<T>(sum.x, sum.y));
          if (is_row) static_cast<T*>(p.y)[Y(u, j)] = y;
          continue;
        }
        const float2 residual = early.residual[u][j / kParts].Floats();
        const Pair<T> y = Pair<T>::Of({sum.x + residual.x, sum.y + residual.y});
        if (is_row) y.Store(p.y, Y(u, j));
        if (p.next_norm == nullptr) continue;
        const float2 value = y.Floats(), weight = early.next_norm[u].Floats();
        if (is_row) Pair<T>::Of({value.x * weight.x, value.y * weight.y}).Store(p.weighted, Y(u, j));
        squares[j] += value.x * value.x + value.y * value.y;
      }
    }
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) squares[j] += __shfl_xor_sync(~0u, squares[j], offset);
      if (g == 0 && p.next_norm != nullptr) b.squares[threadIdx.x / 32 * Block::kOwned + 4 * j + t] = squares[j];
    }
  }

 private:
  __device__ bool Has(int u) const { return unit + u * kWarps < tile.units; }
  __device__ bool IsMine(int j) const { return kParts == 1 || j % kParts == part; }
  __device__ static float2 Of(const float (&c)[4], int rank) { return rank == 0 ? make_float2(c[0], c[2]) : make_float2(c[1], c[3]); }
  __device__ int Column(int j, int rank) const { return 8 * j + 2 * t + rank; }

  // In exchange, in bytes.
  __device__ static uint32_t At(int source, int u, int j, int thread) {
    return ((source * kUnits * kMine + u * kMine + j / kParts) * kMultiplying + thread) * static_cast<int>(sizeof(float2));
  }
  __device__ float2 Received(int source, int u, int j) const { return b.exchange[At(source, u, j, threadIdx.x) / sizeof(float2)]; }

  // Parts of a block first, then blocks: whoever adds, the same is added to the same.
  __device__ float2 Sum(const AllSums& c, int u, int j) const {
    const float2 own = Of(c[u][j], b.rank), other = Received(kOtherBlock, u, j);
    if constexpr (kParts == 1) return {own.x + other.x, own.y + other.y};
    const float2 warp = Received(kOtherWarp, u, j), both = Received(kOtherBoth, u, j);
    return {(own.x + warp.x) + (other.x + both.x), (own.y + warp.y) + (other.y + both.y)};
  }

  __device__ float2 Scaled(float2 sum, int column) const {
    return p.normed ? make_float2(sum.x * b.row_scales[column], sum.y * b.row_scales[column]) : sum;
  }
  __device__ float2 ScalesOf(const float* own) const {
    const float2 scales = p.gated ? make_float2(own[0], own[p.n / 2]) : *reinterpret_cast<const float2*>(own);
    return {scales.x * Wider<Block>::kScale, scales.y * Wider<Block>::kScale};
  }

  // Of y: the first of a pair, or what a gate and its up become.
  __device__ int Row(int u) const {
    const int pair = (tile.first + unit + u * kWarps) * kPairs + g;
    return p.gated ? pair : 2 * pair;
  }
  __device__ int64_t Y(int u, int j) const { return int64_t{Column(j, b.rank)} * (p.gated ? p.n / 2 : p.n) + Row(u); }
};

// Sums of squares of a row, of what each cluster made of it.
template <typename Block>
__device__ float* SquaresOf(const Block& b, int phase, int cluster) {
  return b.chain.squares + ((phase * b.clusters + cluster) * kSplit + b.rank) * kMostOwned;
}

// What a normed phase's columns are to be multiplied with.
template <typename Block>
__device__ void ScaleRows(const Block& b, int phase) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int first = 0; first < Block::kOwned; first += kWarps) {
    const int column = first + Warp();
    const bool owned = column < b.OwnColumns();
    float sum = 0;
    for (int at = 0; at < b.clusters; at += 32) {
      if (owned && at + lane < b.clusters) sum += __ldcg(SquaresOf(b, phase - 1, at + lane) + column);
    }
    sum = WarpSum(sum);
    if (owned && lane == 0) b.row_scales[column] = rsqrtf(sum / b.chain.phases[phase].k + b.chain.eps);
  }
  SyncMultiplying();
}

// By a warp that makes nothing of a tile, once the first warp has read what is there.
template <typename Block>
__device__ void ClearSquares(const Block& b) {
  const int column = threadIdx.x % 32;
  if (column < Block::kOwned) b.squares[threadIdx.x / 32 * Block::kOwned + column] = 0;
}

// Adds up what the warps left in b.squares: by the first warp, when all have.
template <typename Block>
__device__ void AddSquares(const Block& b, int phase, const Tile& tile) {
  const int column = threadIdx.x % 32;
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) sum += b.squares[warp * Block::kOwned + column % Block::kOwned];
  float* all = SquaresOf(b, phase, b.cluster) + column;
  if (column < b.OwnColumns()) *all = tile.begins ? sum : *all + sum;
}

#endif

}  // namespace llavamini::kernels::stream
