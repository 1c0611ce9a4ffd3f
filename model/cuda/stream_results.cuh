// How the sums of a tile become results: each block of a cluster adds up the columns that it owns, each of its warps some of them.
#pragma once

#include "model/cuda/e4m3.cuh"
#include "model/cuda/stream_chain.cuh"

namespace llavamini::kernels::stream {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

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
  static constexpr int kOwned = Block::kOwned;
  static constexpr int kMine = (kOwned + kWarps - 1) / kWarps;  // columns of a warp
  static constexpr int kEarlyRows = 64;                         // two for each lane

  const Block& b;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  // A warp's part of each column, to the block that adds it up. Units unit and unit + kWarps.
  template <typename Sums>
  __device__ void Send(const Phase& p, const Tile& tile, int unit, int part, const Sums& c) const {
    const int g = lane / 4, t = lane % 4, pitch = Pitch(p.cut.units);
    const uint32_t own = SharedAddress(b.exchange);
    if (threadIdx.x == 0) {
      BarrierExpect(b.received, kSplit * p.cut.parts * b.OwnColumns() * tile.units * kUnit * static_cast<int>(sizeof(float)));
    }
#pragma unroll
    for (int j = 0; j < Block::kColumns / 8; ++j) {
      const int column = 8 * j + 2 * t;  // and the next: the same block's
      const uint32_t barrier = AddressIn(b.received, column / kOwned);
      const int at = ((b.rank * p.cut.parts + part) * kOwned + column % kOwned) * pitch + unit * kUnit + g;
      const uint32_t target = AddressIn(own, column / kOwned) + at * 4;
#pragma unroll
      for (int u = 0; u < 2; ++u) {
        if (unit + u * kWarps >= tile.units) continue;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (column + i % 2 >= b.chain.rows) continue;
          StoreIn(target + (i % 2 * pitch + u * kWarps * kUnit + i / 2 * 8) * 4, c[u][j][i], barrier);
        }
      }
    }
  }

  // What Finish() needs from memory for a tile's first rows, asked for before the products: that way is long while weights are on theirs.
  struct Early {
    Pair<T> residual[kMine], next_norm;
  };
  __device__ Early LoadEarly(const Phase& p, const Tile& tile) const {
    Early early = {};
    const int row = 2 * lane, columns = b.OwnColumns();
    if (row >= tile.half * kUnit) return early;
    if (p.next_norm != nullptr) early.next_norm = Pair<T>::Load(p.next_norm, tile.share * kUnit + row);
    if (p.residual == nullptr) return early;
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int column = warp + i * kWarps;
      if (column < columns) early.residual[i] = Pair<T>::Load(p.residual, At(p, tile, column, row));
    }
    return early;
  }

  // What a normed phase's columns are to be multiplied with.
  __device__ void ScaleRows(int phase) const {
    for (int column = warp; column < b.OwnColumns(); column += kWarps) {
      float sum = 0;
      for (int i = lane; i < b.clusters; i += 32) sum += __ldcg(Squares(phase - 1, i) + column);
      sum = WarpSum(sum);
      if (lane == 0) b.row_scales[column] = rsqrtf(sum / b.chain.phases[phase].k + b.chain.eps);
    }
    __syncwarp();
  }

  // This warp's columns of a tile, to y.
  __device__ void Finish(int phase, const Tile& tile, const Early& early) const {
    const Phase& p = b.chain.phases[phase];
    const int rows = tile.half * kUnit;
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int column = warp + i * kWarps;
      if (column >= b.OwnColumns()) continue;
      float squares = 0;
      for (int row = 2 * lane; row < rows; row += kEarlyRows) {
        const int64_t at = At(p, tile, column, row);
        const bool is_early = row < kEarlyRows;
        float2 value = Sum(p, tile, column, row);
        if (p.gated) {
          const float2 up = Sum(p, tile, column, row + rows);
          value = {Gated<T>(value.x, up.x), Gated<T>(value.y, up.y)};
        }
        if (p.residual != nullptr) {
          const float2 other = (is_early ? early.residual[i] : Pair<T>::Load(p.residual, at)).Floats();
          value = {value.x + other.x, value.y + other.y};
        }
        const Pair<T> y = Pair<T>::Of(value);
        y.Store(p.y, at);
        if (p.next_norm == nullptr) continue;
        const Pair<T> weight = is_early ? early.next_norm : Pair<T>::Load(p.next_norm, tile.share * kUnit + row);
        squares += StoreWeighted(p, at, y.Floats(), weight.Floats());
      }
      if (p.next_norm != nullptr) AddSquares(phase, tile, column, WarpSum(squares));
    }
  }

 private:
  // In y.
  __device__ int64_t At(const Phase& p, const Tile& tile, int column, int row) const {
    return int64_t{b.rank * kOwned + column} * (p.gated ? p.n / 2 : p.n) + tile.share * kUnit + row;
  }
  __device__ float* Squares(int phase, int cluster) const {
    return b.chain.squares + (phase * b.clusters + cluster) * kMostStreamedRows + b.rank * kOwned;
  }
  __device__ void AddSquares(int phase, const Tile& tile, int column, float squares) const {
    float* sum = Squares(phase, b.cluster) + column;
    if (lane == 0) *sum = tile.first ? squares : *sum + squares;
  }
  __device__ static float StoreWeighted(const Phase& p, int64_t at, float2 y, float2 weight) {
    Pair<T>::Of({y.x * weight.x, y.y * weight.y}).Store(p.weighted, at);
    return y.x * y.x + y.y * y.y;
  }

  // A column's sums at two adjacent rows of the tile, times all that they are scaled by.
  __device__ float2 Sum(const Phase& p, const Tile& tile, int column, int row) const {
    const int pitch = Pitch(p.cut.units);
    float2 sum = {0, 0};
    for (int part = 0; part < kSplit * p.cut.parts; ++part) {
      const float2 own = *reinterpret_cast<const float2*>(b.exchange + (part * kOwned + column) * pitch + row);
      sum = {sum.x + own.x, sum.y + own.y};
    }
    if (p.normed) sum = {sum.x * b.row_scales[column], sum.y * b.row_scales[column]};
    if constexpr (sizeof(typename Block::Weight) != 1) return sum;
    const float2 scales = *reinterpret_cast<const float2*>(p.scales + tile.Row(row / kUnit) + row % kUnit);
    return {sum.x * (scales.x * kSpreadScale<T>), sum.y * (scales.y * kSpreadScale<T>)};
  }
};

#endif

}  // namespace llavamini::kernels::stream
