// A product with few rows is bound by reading the weights once. A block makes 16 rows of the weights at a time (its eight warps share
// out K and add up in a fixed order, so a result does not depend on the number of rows) and goes on to others, loads of the next
// always in flight; a weight goes from memory straight into the matrix unit's registers: which of the 16 K's of an m16n8k16 product is
// which does not matter as long as both sides agree, so lane t of a group takes eight adjacent ones (16 bytes).
#include "model/cuda/e4m3.cuh"
#include "model/cuda/fragments.cuh"
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kTileRows = 16;   // of the weights, per block
template <typename Weight>
constexpr int kLaneK = 16 / sizeof(Weight);  // per lane and load
template <typename Weight>
constexpr int kStepK = 4 * kLaneK<Weight>;   // per warp and load
template <typename Weight, int kBlocks>
constexpr int kLoads = sizeof(Weight) == 1 || kBlocks == 3 ? 2 : 4;  // of a lane in flight, twice, for so many blocks per SM
constexpr int kPadding = 32;    // elements between normalised rows in shared memory: spreads them over the banks
constexpr int kColumns = 8;     // rows of x per matrix instruction

__device__ inline uint4 LoadWeights(const void* address) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(address));
  return value;
}

// The part-th eight K's of a load, in pairs of adjacent ones.
template <typename T, typename Weight>
__device__ inline uint4 Widen(const uint4& loaded, int part) {
  if constexpr (sizeof(Weight) != 1) return loaded;
  const unsigned low = part == 0 ? loaded.x : loaded.z, high = part == 0 ? loaded.y : loaded.w;
  return {WidenPair<T>(low, 0), WidenPair<T>(low, 1), WidenPair<T>(high, 0), WidenPair<T>(high, 1)};
}

// The weights' row of row `row` of a tile: with a gate, eight gates and the eight ups that belong to them.
__device__ inline int64_t WeightRow(const FewRows& p, int tile, int row) {
  if (!p.gated) return static_cast<int64_t>(tile) * kTileRows + row;
  const int64_t first = static_cast<int64_t>(tile) * (kTileRows / 2);
  return row < kTileRows / 2 ? first + row : p.n / 2 + first + row - kTileRows / 2;
}

// The rows of x, normalised, in shared memory. The block's threads share up to eight rows at a time, whole warps each.
template <typename T>
__device__ void Normalise(const FewRows& p, T* normalised) {
  __shared__ float sums[kWarps];
  const int together = p.rows > 4 ? 8 : p.rows > 2 ? 4 : p.rows;
  const int share = kThreads / together, warps = kWarps / together, at = threadIdx.x % share * 8;
  for (int first = 0; first < p.rows; first += together) {
    const int row = first + threadIdx.x / share;
    const T* source = static_cast<const T*>(p.x) + row * p.x_stride;
    float sum = 0;
    if (row < p.rows) {
      for (int i = at; i < p.k; i += share * 8) {
        const Eight<T> values = Eight<T>::Load(source + i);
#pragma unroll
        for (int j = 0; j < 8; ++j) sum += values.Get(j) * values.Get(j);
      }
    }
    sum = WarpSum(sum);
    if (first > 0) __syncthreads();
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (row >= p.rows) continue;
    float total = 0;
    for (int w = 0; w < warps; ++w) total += sums[threadIdx.x / share * warps + w];
    const float scale = rsqrtf(total / p.k + p.eps);
    for (int i = at; i < p.k; i += share * 8) {
      Eight<T> values = Eight<T>::Load(source + i);
      const Eight<T> weight = Eight<T>::Load(static_cast<const T*>(p.norm_weight) + i);
#pragma unroll
      for (int j = 0; j < 8; ++j) values.Set(j, values.Get(j) * scale * weight.Get(j));
      values.Store(normalised + row * (p.k + kPadding) + i);
    }
  }
  __syncthreads();
}

// What the warps have of a tile, summed in their order, to y.
template <typename T, typename Weight, int kTiles>
__device__ void Finish(const FewRows& p, int tile, const float (&partial)[kWarps][kTiles * kColumns][kTileRows]) {
  const auto total = [&](int column, int row) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += partial[w][column][row];
    if constexpr (sizeof(Weight) == 1) sum *= p.scales[WeightRow(p, tile, row)];
    return sum;
  };
  T* y = static_cast<T*>(p.y);
  const int made = p.gated ? kTileRows / 2 : kTileRows, width = p.gated ? p.n / 2 : p.n;
  for (int i = threadIdx.x; i < p.rows * made; i += kThreads) {
    const int column = i / made, row = i % made;
    const int64_t at = static_cast<int64_t>(column) * width + static_cast<int64_t>(tile) * made + row;
    float value = total(column, row);
    if (p.gated) {
      const float gate = ToFloat(FromFloat<T>(value)), up = ToFloat(FromFloat<T>(total(column, row + 8)));
      value = gate / (1.0f + __expf(-gate)) * up;
    }
    if (p.residual != nullptr) value += ToFloat(static_cast<const T*>(p.residual)[at]);
    y[at] = FromFloat<T>(value);
  }
}

// kWhole: K is a multiple of two rounds of loads of all warps.
template <typename T, typename Weight, int kTiles, bool kNorm, int kBlocks, bool kWhole>
__global__ void __launch_bounds__(kThreads, kBlocks) FewRowsKernel(FewRows p) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ float partial[2][kWarps][kTiles * kColumns][kTileRows];  // of this tile and the last
  constexpr int kDepth = kLoads<Weight, kBlocks>;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, member = lane % 4;
  const int span = p.k / kWarps, first = warp * span + member * kLaneK<Weight>, steps = span / kStepK<Weight>;
  const int tiles = p.n / kTileRows;
  LetNextKernelStart();

  uint4 a[2][kDepth][2];
  const auto load = [&](int buffer, int tile, int step) {
    const Weight* low = static_cast<const Weight*>(p.weight) + WeightRow(p, tile, group) * p.k + first;
    const Weight* high = static_cast<const Weight*>(p.weight) + WeightRow(p, tile, group + 8) * p.k + first;
#pragma unroll
    for (int i = 0; i < kDepth; ++i) {
      if (!kWhole && step + i >= steps) continue;
      a[buffer][i][0] = LoadWeights(low + (step + i) * kStepK<Weight>);
      a[buffer][i][1] = LoadWeights(high + (step + i) * kStepK<Weight>);
    }
  };
  load(0, blockIdx.x, 0);
  AwaitEarlierKernels();

  const T* x = static_cast<const T*>(p.x);
  int64_t x_stride = p.x_stride;
  if constexpr (kNorm) {
    Normalise<T>(p, reinterpret_cast<T*>(shared));
    x = reinterpret_cast<const T*>(shared);
    x_stride = p.k + kPadding;
  }
  float c[kTiles][4];
  const auto multiply = [&](int buffer, int step) {
#pragma unroll
    for (int i = 0; i < kDepth; ++i) {
      if (!kWhole && step + i >= steps) continue;
#pragma unroll
      for (int part = 0; part < kLaneK<Weight> / 8; ++part) {
        const uint4 wl = Widen<T, Weight>(a[buffer][i][0], part), wh = Widen<T, Weight>(a[buffer][i][1], part);
#pragma unroll
        for (int columns = 0; columns < kTiles; ++columns) {
          const int row = columns * kColumns + group;
          const T* source = x + row * x_stride + first + (step + i) * kStepK<Weight> + part * 8;
          uint4 b = {0, 0, 0, 0};
          if (row < p.rows) b = *reinterpret_cast<const uint4*>(source);
          MultiplyAdd<T>(c[columns], {wl.x, wh.x, wl.y, wh.y}, b.x, b.y);
          MultiplyAdd<T>(c[columns], {wl.z, wh.z, wl.w, wh.w}, b.z, b.w);
        }
      }
    }
  };
  int turn = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, turn ^= 1) {
#pragma unroll
    for (int columns = 0; columns < kTiles; ++columns) {
#pragma unroll
      for (int i = 0; i < 4; ++i) c[columns][i] = 0;
    }
    for (int step = 0; step < steps; step += 2 * kDepth) {
      load(1, tile, step + kDepth);
      multiply(0, step);
      if (step + 2 * kDepth < steps) {
        load(0, tile, step + 2 * kDepth);
      } else if (tile + gridDim.x < tiles) {
        load(0, tile + gridDim.x, 0);
      }
      multiply(1, step + kDepth);
    }
#pragma unroll
    for (int columns = 0; columns < kTiles; ++columns) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        partial[turn][warp][columns * kColumns + member * 2 + i % 2][group + (i / 2) * 8] = c[columns][i];
      }
    }
    __syncthreads();
    Finish<T, Weight, kTiles>(p, tile, partial[turn]);
  }
}

// SMs of the current device. Asked once.
int Multiprocessors() {
  static const int known = [] {
    int device = 0, count = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    return count > 0 ? count : 1;
  }();
  return known;
}

// Blocks per SM so that the last round of tiles leaves the fewest idle.
int BlocksPerSm(int tiles, int most) {
  int best = most;
  double least = 1e9;
  for (int blocks = most; blocks >= 1 && blocks >= most - 1; --blocks) {
    const int slots = blocks * Multiprocessors(), rounds = (tiles + slots - 1) / slots;
    const double waste = static_cast<double>(rounds) * slots / tiles;
    if (waste < least - 0.02) {
      least = waste;
      best = blocks;
    }
  }
  return best;
}

template <typename T, typename Weight, int kTiles, bool kNorm, int kBlocks>
void LaunchBlocks(const FewRows& p, int blocks_per_sm, cudaStream_t stream) {
  constexpr int kRound = 2 * kLoads<Weight, kBlocks> * kStepK<Weight> * kWarps;
  const bool whole = p.k % kRound == 0;
  const auto kernel = whole ? FewRowsKernel<T, Weight, kTiles, kNorm, kBlocks, true>
                            : FewRowsKernel<T, Weight, kTiles, kNorm, kBlocks, false>;
  const size_t shared = kNorm ? p.rows * (p.k + kPadding) * sizeof(T) : 0;
  if (shared > 16 * 1024) {
    static const cudaError_t raised[2] = {
        cudaFuncSetAttribute(FewRowsKernel<T, Weight, kTiles, kNorm, kBlocks, false>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, kFewRowsShared),
        cudaFuncSetAttribute(FewRowsKernel<T, Weight, kTiles, kNorm, kBlocks, true>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, kFewRowsShared)};
    static_cast<void>(raised);  // a launch that needs it fails, each time
  }
  const int tiles = p.n / kTileRows, slots = blocks_per_sm * Multiprocessors();
  LaunchDependent(kernel, dim3(static_cast<unsigned>(tiles < slots ? tiles : slots)), kThreads, shared, stream, p);
}

template <typename T, typename Weight, int kTiles, bool kNorm>
void Launch(const FewRows& p, cudaStream_t stream) {
  const int blocks = BlocksPerSm(p.n / kTileRows, kTiles == 1 && p.rows <= 4 ? 3 : 2);
  if constexpr (kTiles == 1) {
    if (blocks == 3) return LaunchBlocks<T, Weight, kTiles, kNorm, 3>(p, blocks, stream);
  }
  LaunchBlocks<T, Weight, kTiles, kNorm, 2>(p, blocks, stream);
}

template <typename T, typename Weight, bool kNorm>
void LaunchTiles(const FewRows& p, cudaStream_t stream) {
  if (p.rows <= 8) return Launch<T, Weight, 1, kNorm>(p, stream);
  if (p.rows <= 16) return Launch<T, Weight, 2, kNorm>(p, stream);
  return Launch<T, Weight, 4, kNorm>(p, stream);
}

}  // namespace

bool CanMultiplyFewRows(Element type, const FewRows& p) {
  const bool norm = p.norm_weight != nullptr;
  const int step = p.scales != nullptr ? kStepK<uint8_t> : kStepK<uint16_t>;
  const int64_t shared = norm ? static_cast<int64_t>(p.rows) * (p.k + kPadding) * 2 : 0;
  return type != Element::kFloat32 && p.rows >= 1 && p.rows <= kMostFewRows && p.k % (kWarps * step) == 0 &&
         p.n % kTileRows == 0 && p.x_stride % 8 == 0 && shared <= kFewRowsShared;
}

void MultiplyFewRows(Element type, const FewRows& p, cudaStream_t stream) {
  const auto run = [&](auto element) {
    using T = decltype(element);
    const bool norm = p.norm_weight != nullptr;
    if (p.scales != nullptr) {
      return norm ? LaunchTiles<T, uint8_t, true>(p, stream) : LaunchTiles<T, uint8_t, false>(p, stream);
    }
    return norm ? LaunchTiles<T, T, true>(p, stream) : LaunchTiles<T, T, false>(p, stream);
  };
  type == Element::kFloat16 ? run(__half{}) : run(__nv_bfloat16{});
}

}  // namespace llavamini::kernels
