// Products with few rows on sm_90 are bound by the weights' way from memory, so that way never rests. One block per SM goes through a chain
// of products, each of which needs the one before: one of its warps copies weights into a ring in shared memory, as far ahead as the ring
// reaches, whatever product they belong to, and before the kernels ahead are done; another copies the rows that they meet as soon as all
// blocks have made them; eight multiply. So what must wait (the ends of products, attention between two chains) waits while weights are
// on their way.
// Two blocks, a cluster, share a tile of the weights' rows, and each takes half of K. What they have of a column (a row of x) is added up
// by one of them, in a fixed order: a row's result does not depend on the number of rows.
// RMSNorm between two products costs no pass of its own: x · weight goes on, and the product's sums are divided by the root of the mean of
// x², which was added up where x was made.
#include <algorithm>
#include <stdexcept>

#include "model/cuda/stream_copies.cuh"
#include "model/cuda/stream_products.cuh"
#include "model/cuda/stream_results.cuh"
#include "model/cuda/tensor_map.h"

namespace llavamini::kernels {
namespace stream {
namespace {

constexpr int kShared = 190 * 1024;     // of an SM's 227: the rest is for the kernels between
constexpr int kLeastStage = 24 * 1024;  // bytes: fewer are not worth their barriers
constexpr int kFewestStages = 4;
constexpr int kFixedBytes = kAlignment + kScalesBytes + kBarrierBytes;

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

template <typename Block>
__device__ void MultiplyAll(const Block& b) {
  const Results<Block> results{b};
  AwaitEarlierKernels();  // for the residual
  Slot slot;
  int turn = 0;  // tiles, of all phases
  for (int phase = 0; phase < b.chain.count; ++phase) {
    const Phase& p = b.chain.phases[phase];
    const bool halves = p.cut.parts == 2;
    const int unit = halves ? results.warp % (kWarps / 2) : results.warp, part = halves ? results.warp / (kWarps / 2) : 0;
    b.ForTiles(p, [&](const Tile& tile) {
      const auto early = results.LoadEarly(p, tile);
      Sums<Block> c = {};
      if (halves) {
        MultiplyTile<Block, 1, 2>(b, p, tile, unit, part, slot, c);
      } else if (unit + kWarps < tile.units) {
        MultiplyTile<Block, 2, 1>(b, p, tile, unit, part, slot, c);
      } else {
        MultiplyTile<Block, 1, 1>(b, p, tile, unit, part, slot, c);
      }
      if (turn > 0) BarrierWait(b.may_send, (turn - 1) % 2);
      results.Send(p, tile, unit, part, c);
      if (p.normed && tile.first) results.ScaleRows(phase);
      BarrierWait(b.received, turn % 2);
      results.Finish(phase, tile, early);
      ++turn;
      if (tile.last && phase + 1 == b.chain.count) return;
      __syncwarp();
      if (tile.last && results.lane == 0) BarrierArrive(b.finished);
      asm volatile("bar.sync 1, %0;" ::"n"(32 * kWarps) : "memory");  // all have read what was exchanged
      if (threadIdx.x < kSplit) BarrierArriveIn(AddressIn(b.may_send, threadIdx.x));
    });
  }
}

#endif

template <typename T, typename Weight, int kColumns>
__global__ void __launch_bounds__(kThreads, 1) Kernel(const __grid_constant__ Chain chain) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  extern __shared__ unsigned char shared[];
  LetNextKernelStart();
  const Block<T, Weight, kColumns> block(chain, shared);
  const int warp = threadIdx.x / 32;
  if (threadIdx.x == 0) block.InitBarriers();
  __syncthreads();
  ClusterArrive();
  if (warp < kWarps) {
    ClusterWait();  // the others' barriers are there
    MultiplyAll(block);
  } else {
    warp == kWarps ? CopyWeights(block) : CopyRows(block);
    __syncwarp();
    ClusterWait();
  }
#endif
}

// ---------------------------------------------------------------- launching

// Clusters that run at the same time, one block per SM; 0 where an SM has too little shared memory. Asked once.
int MostClusters() {
  static const int known = [] {
    const auto kernel = Kernel<__half, __half, 8>;
    cudaLaunchAttribute cluster;
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {kSplit, 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(kSplit);
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = kShared;
    config.attrs = &cluster;
    config.numAttrs = 1;
    int count = 0;
    if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared) != cudaSuccess ||
        cudaOccupancyMaxActiveClusters(&count, kernel, &config) != cudaSuccess) {
      cudaGetLastError();  // not for whoever asks next
      return 0;
    }
    return count;
  }();
  return known;
}

// What blocks tell each other through memory.
struct Workspace {
  unsigned long long* arrivals;
  float* squares;
};

// Allocated once, outside of captures.
const Workspace& OwnWorkspace() {
  static const Workspace known = [] {
    const size_t arrivals = sizeof(unsigned long long) * (1 + kSplit * MostClusters());
    const size_t squares = sizeof(float) * kMostChained * MostClusters() * kMostStreamedRows;
    Workspace made = {};
    if (cudaMalloc(&made.arrivals, arrivals) != cudaSuccess || cudaMemset(made.arrivals, 0, arrivals) != cudaSuccess ||
        cudaMalloc(&made.squares, squares) != cudaSuccess) {
      throw std::runtime_error("no GPU memory for streamed products");
    }
    return made;
  }();
  return known;
}

int ExchangeBytes(int columns, const Cut& cut) { return columns * cut.parts * Pitch(cut.units) * 4; }

// Few tiles per cluster, of equal size.
Cut CutOf(const StreamedProduct& p, int columns, int weight_bytes) {
  const int width = p.gated ? 2 : 1;  // units of a share
  const auto fits = [&](int units) {
    return kFixedBytes + columns * Pitch(units) * 4 + kFewestStages * SpanBytes(columns, weight_bytes, units) <= kShared;
  };
  int most = width;
  while (most + width <= kMostUnits && fits(most + width)) most += width;
  Cut cut{p.n / kUnit / width, 0, 0, 1, 1};
  const int shares = (cut.shares + MostClusters() - 1) / MostClusters(), tiles = (shares * width + most - 1) / most;
  cut.tile = (shares + tiles - 1) / tiles;
  cut.units = cut.tile * width;
  cut.parts = cut.units <= kWarps / 2 ? 2 : 1;
  return cut;
}

// Stages of one size for all products, and as many of them as fit.
template <typename Weight, int kColumns>
Chain ChainOf(const ProductChain& products) {
  constexpr int kWeightBytes = sizeof(Weight);
  Chain chain = {};
  chain.count = products.count;
  chain.rows = products.rows;
  chain.eps = products.eps;
  chain.arrivals = OwnWorkspace().arrivals;
  chain.squares = OwnWorkspace().squares;
  chain.stage_bytes = kLeastStage;
  for (int i = 0; i < products.count; ++i) {
    const StreamedProduct& p = products.products[i];
    const CUtensorMap weights = MapMatrix({p.weight, p.k, p.n, p.k * int64_t{kWeightBytes}, kWeightBytes}, kUnit),
                      rows = MapMatrix({p.x, p.k, products.rows, p.x_stride * 2, 2}, kColumns);
    const Cut cut = CutOf(p, kColumns, kWeightBytes);
    chain.phases[i] = {weights, rows, p.scales, p.residual, p.y, p.next_norm, p.weighted, p.n, p.k, p.gated, p.normed, cut};
    chain.stage_bytes = std::max(chain.stage_bytes, SpanBytes(kColumns, kWeightBytes, cut.units));
    chain.exchange_bytes = std::max(chain.exchange_bytes, ExchangeBytes(kColumns, cut));
  }
  chain.exchange_bytes = (chain.exchange_bytes + 15) / 16 * 16;
  chain.stages = std::min(kMostStages, (kShared - kFixedBytes - chain.exchange_bytes) / chain.stage_bytes);
  for (int i = 0; i < chain.count; ++i) {
    Cut& cut = chain.phases[i].cut;
    cut.spans = std::min(chain.stage_bytes / SpanBytes(kColumns, kWeightBytes, cut.units), 32 / cut.units);  // a copy per lane
  }
  return chain;
}

template <typename T, typename Weight, int kColumns>
void Launch(const ProductChain& products, cudaStream_t stream) {
  const auto kernel = Kernel<T, Weight, kColumns>;
  static const cudaError_t raised = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  if (raised != cudaSuccess) throw std::runtime_error(cudaGetErrorString(raised));
  const Chain chain = ChainOf<Weight, kColumns>(products);
  const size_t shared = kFixedBytes + chain.exchange_bytes + chain.stages * chain.stage_bytes;
  LaunchDependent(kernel, Grid{dim3(kSplit * MostClusters()), kThreads, shared, kSplit}, stream, chain);
}

template <typename T, typename Weight>
void LaunchColumns(const ProductChain& products, cudaStream_t stream) {
  if (products.rows <= 8) return Launch<T, Weight, 8>(products, stream);
  if (products.rows <= 16) return Launch<T, Weight, 16>(products, stream);
  Launch<T, Weight, kMostStreamedRows>(products, stream);
}

bool CanStream(const StreamedProduct& p) {
  const int part = kSplit * (p.scales != nullptr ? kSpanK<uint8_t> : kSpanK<uint16_t>), unit = p.gated ? 2 * kUnit : kUnit;
  const bool aligned = reinterpret_cast<uintptr_t>(p.x) % 16 == 0 && reinterpret_cast<uintptr_t>(p.weight) % 16 == 0;
  return aligned && p.k % part == 0 && p.x_stride % 8 == 0 && p.n % unit == 0 && p.n / unit >= MostClusters();
}

}  // namespace
}  // namespace stream

bool CanStreamWeights(Element type, const ProductChain& chain) {
  if (!HasProgrammaticLaunch() || !HasTensorMaps() || stream::MostClusters() == 0 || type == Element::kFloat32 || chain.rows < 1 ||
      chain.rows > kMostStreamedRows) {
    return false;
  }
  return std::all_of(chain.products, chain.products + chain.count, [&](const StreamedProduct& p) {
    return stream::CanStream(p) && (p.scales != nullptr) == (chain.products[0].scales != nullptr);
  });
}

void StreamWeights(Element type, const ProductChain& chain, cudaStream_t stream) {
  const auto run = [&](auto element) {
    using T = decltype(element);
    chain.products[0].scales != nullptr ? stream::LaunchColumns<T, uint8_t>(chain, stream) : stream::LaunchColumns<T, T>(chain, stream);
  };
  type == Element::kFloat16 ? run(__half{}) : run(__nv_bfloat16{});
}

}  // namespace llavamini::kernels
