// How the sums of a tile become results: each block of a cluster adds up the columns that it owns, each of its warps some of them.
#pragma once

#include "model/cuda/e4m3.cuh"
#include "model/cuda/stream/chain.cuh"

namespace llavamini::kernels::stream {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

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

template <typename Block>
struct Results {
  using T = typename Block::T;
  static constexpr int kOwned = Block::kOwned, kPitch = Pitch(kOwned);
  // Columns of a warp. (Never only one, from which the compiler makes branches that it takes for divergent: see Finish().)
  static constexpr int kMine = kOwned > kWarps ? (kOwned + kWarps - 1) / kWarps : 2;
  static constexpr int kEarlyRows = 64;  // two for each lane

  const Block& b;
  const int warp = Warp(), lane = threadIdx.x % 32;

  // Of a tile, by all blocks of the cluster.
  __device__ unsigned ExpectedBytes(const Phase& p, const Tile& tile) const {
    return kSplit * p.cut.parts * ((b.OwnColumns() + 1) / 2 * 2) * tile.units * kUnit * static_cast<int>(sizeof(float));
  }

  // A warp's part of each column, to the block that adds it up. Units unit and unit + kWarps.
  template <int kUnits>
  __device__ void Send(const Phase& p, const Tile& tile, int unit, int part, const float (&c)[kUnits][Block::kColumns / 8][4]) const {
    const int g = lane / 4, t = lane % 4;
    const int first = ((b.rank * p.cut.parts + part) * p.cut.units + unit) * kUnit + g;
    const uint32_t own = SharedAddress(b.exchange) + first * kPitch * 4;
#pragma unroll
    for (int j = 0; j < Block::kColumns / 8; ++j) {
      const int column = 8 * j + 2 * t;  // and the next: the same block's
      if (column >= b.chain.rows) continue;
      const uint32_t barrier = AddressIn(b.received, column / kOwned), target = AddressIn(own, column / kOwned) + column % kOwned * 4;
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        if (unit + u * kWarps >= tile.units) continue;
        const uint32_t at = target + u * kWarps * kUnit * kPitch * 4;
        StoreIn(at, {c[u][j][0], c[u][j][1]}, barrier);
        StoreIn(at + 8 * kPitch * 4, {c[u][j][2], c[u][j][3]}, barrier);
      }
    }
  }

  // What Finish() needs from memory for a tile's first rows, asked for before the products: that way is long while weights are on theirs.
  struct Early {
    Pair<T> residual[kMine], next_norm;
  };
  __device__ Early LoadEarly(const Phase& p, const Tile& tile) const {
    Early early = {};
    const int row = 2 * lane;
    if (row >= tile.made * kUnit) return early;
    if (p.next_norm != nullptr) early.next_norm = Pair<T>::Load(p.next_norm, tile.share * kUnit + row);
#pragma unroll
    for (int i = 0; i < kMine; ++i) early.residual[i] = Residual(p, tile, warp + i * kWarps, row);
    return early;
  }

  // Loops below have as many rounds in all lanes, and nothing but loads and stores depends on the lane: else the compiler takes what
  // follows, the next tile's products of warp groups, for divergent.

  // What a normed phase's columns are to be multiplied with.
  __device__ void ScaleRows(int phase) const {
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int column = warp + i * kWarps;
      float sum = 0;
      for (int first = 0; first < b.clusters; first += 32) {
        if (column < b.OwnColumns() && first + lane < b.clusters) sum += __ldcg(Squares(phase - 1, first + lane) + column);
      }
      sum = WarpSum(sum);
      if (column < b.OwnColumns() && lane == 0) b.row_scales[column] = rsqrtf(sum / b.chain.phases[phase].k + b.chain.eps);
    }
    __syncwarp();
  }

  // This warp's columns of a tile, to y.
  __device__ void Finish(int phase, const Tile& tile, const Early& early) const {
    const Phase& p = b.chain.phases[phase];
    const int rows = tile.made * kUnit;
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int column = warp + i * kWarps;
      const bool owned = column < b.OwnColumns();
      float squares = 0;
      for (int first = 0; first < rows; first += kEarlyRows) {
        const int row = first + 2 * lane;
        if (!owned || row >= rows) continue;
        const int64_t at = At(p, tile, column, row);
        const float2 value = Value(p, tile, column, row);
        const float2 residual = (first == 0 ? early.residual[i] : Residual(p, tile, column, row)).Floats();
        const Pair<T> y = Pair<T>::Of({value.x + residual.x, value.y + residual.y});
        y.Store(p.y, at);
        if (p.next_norm == nullptr) continue;
        const Pair<T> weight = first == 0 ? early.next_norm : Pair<T>::Load(p.next_norm, tile.share * kUnit + row);
        squares += StoreWeighted(p, at, y.Floats(), weight.Floats());
      }
      squares = WarpSum(squares);
      if (p.next_norm != nullptr && owned && lane == 0) AddSquares(phase, tile, column, squares);
    }
  }

 private:
  // In y.
  __device__ int64_t At(const Phase& p, const Tile& tile, int column, int row) const {
    return int64_t{b.rank * kOwned + column} * (p.gated ? p.n / 2 : p.n) + tile.share * kUnit + row;
  }
  __device__ Pair<T> Residual(const Phase& p, const Tile& tile, int column, int row) const {
    return p.residual == nullptr || column >= b.OwnColumns() ? Pair<T>{} : Pair<T>::Load(p.residual, At(p, tile, column, row));
  }
  __device__ float* Squares(int phase, int cluster) const {
    return b.chain.squares + (phase * b.clusters + cluster) * kMostStreamedRows + b.rank * kOwned;
  }
  __device__ void AddSquares(int phase, const Tile& tile, int column, float squares) const {
    float* sum = Squares(phase, b.cluster) + column;
    *sum = tile.first ? squares : *sum + squares;
  }
  __device__ static float StoreWeighted(const Phase& p, int64_t at, float2 y, float2 weight) {
    Pair<T>::Of({y.x * weight.x, y.y * weight.y}).Store(p.weighted, at);
    return y.x * y.x + y.y * y.y;
  }

  // Of y, but for the residual.
  __device__ float2 Value(const Phase& p, const Tile& tile, int column, int row) const {
    const float2 value = Sum(p, tile, column, row);
    if (!p.gated) return value;
    const float2 up = Sum(p, tile, column, row + tile.made * kUnit);
    return {Gated<T>(value.x, up.x), Gated<T>(value.y, up.y)};
  }

  // A column's sums at two adjacent rows of the tile, times all that they are scaled by.
  __device__ float2 Sum(const Phase& p, const Tile& tile, int column, int row) const {
    float2 sum = {0, 0};
    for (int part = 0; part < kSplit * p.cut.parts; ++part) {
      const float* own = b.exchange + (part * p.cut.units * kUnit + row) * kPitch + column;
      sum = {sum.x + own[0], sum.y + own[kPitch]};
    }
    if (p.normed) sum = {sum.x * b.row_scales[column], sum.y * b.row_scales[column]};
    if constexpr (sizeof(typename Block::Weight) != 1) return sum;
    const float2 scales = *reinterpret_cast<const float2*>(p.scales + tile.Row(row / kUnit) + row % kUnit);
    return {sum.x * (scales.x * kSpreadScale<T>), sum.y * (scales.y * kSpreadScale<T>)};
  }
};

#endif

}  // namespace llavamini::kernels::stream
