// Products with few rows on sm_90 are bound by the weights' way from memory, so that way never rests. One block per SM goes through a chain
// of products, each of which needs the one before: one of its warps copies weights into a ring in shared memory, as far ahead as the ring
// reaches, whatever product they belong to, and before the kernels ahead are done; another copies the rows that they meet as soon as all
// blocks have made them, and a third tells the others what this block has made; eight multiply. So what must wait (the ends of products,
// attention between two chains) waits while weights are on their way. Weights of 16 bits are multiplied by warp groups, whose matrix
// instructions read both operands from the ring; e4m3 is made wider by the warps, each for its own rows.
// Two blocks, a cluster, share a tile of the weights' rows, and each takes half of K. What they have of a column (a row of x) is added up
// by one of them, in the same order whichever it is: a row's result does not depend on the number of rows, nor on its place among them.
// RMSNorm between two products costs no pass of its own: x · weight goes on, and the product's sums are divided by the root of the mean of
// x², which was added up where x was made.
#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include "model/cuda/sm90/tensor_map.h"
#include "model/cuda/stream/copies.cuh"
#include "model/cuda/stream/products.cuh"
#include "model/cuda/stream/results.cuh"

namespace llavamini::kernels {
namespace stream {
namespace {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Calls with how a warp shares a tile: units that it has at once, and parts of each span; 0 units where the tile has none for it.
template <typename Block, typename Function>
__device__ void WithShare(const Phase& p, const Tile& tile, int unit, Function function) {
  const auto zero = std::integral_constant<int, 0>();
  const auto one = std::integral_constant<int, 1>();
  const auto two = std::integral_constant<int, 2>();
  const int first = FirstUnit<Block>(unit);
  if (p.cut.parts == 2) {
    function(one, two);
  } else if (first + kWarps < tile.units) {
    function(two, one);
  } else if (first < tile.units) {
    function(one, one);
  } else {
    function(zero, one);
  }
}

template <typename Block>
__device__ void MultiplyAll(const Block& b) {
  AwaitEarlierKernels();  // for the residual
  Slot slot;
  int turn = 0;  // tiles, of all phases
  for (int phase = 0; phase < b.chain.count; ++phase) {
    const Phase& p = b.chain.phases[phase];
    const bool last = phase + 1 == b.chain.count;  // made in one run
    const int units = kWarps / p.cut.parts, unit = Warp() % units, part = Warp() / units;
    b.ForTiles(p, [&](const Tile& tile) {
      // (The whole of it once for each way of sharing, so that sums stay where they are.)
      WithShare<Block>(p, tile, unit, [&](auto units_at_once, auto parts) {
        constexpr int kUnits = decltype(units_at_once)::value, kParts = decltype(parts)::value;
        if constexpr (kUnits == 0) {
          TakeStages(b, p, slot, [](const Stage&, uint32_t) {});
          if (turn > 0) BarrierWait(b.may_send, (turn - 1) % 2);
          ClearSquares(b);
          if (p.normed && tile.begins) ScaleRows(b, phase);
          return;
        } else {
          const Results<Block, kUnits, kParts> results{b, p, tile, unit, part};
          const auto early = results.LoadEarly();
          if (threadIdx.x == 0) BarrierExpect(b.received, results.ExpectedBytes());
          Sums<Block, kUnits> c;
          Multiply<Block, kUnits, kParts>(b, p, tile, unit, part, slot, c);
          if (turn > 0) BarrierWait(b.may_send, (turn - 1) % 2);
          results.Send(c);
          if (p.normed && tile.begins) ScaleRows(b, phase);
          BarrierWait(b.received, turn % 2);
          results.Finish(c, early);
        }
      });
      ++turn;
      __syncwarp();
      if (last && tile.ends) return;
      SyncMultiplying();  // all have read what was exchanged
      if (p.next_norm != nullptr && Warp() == 0) AddSquares(b, phase, tile);
      __syncwarp();
      if (tile.ends && threadIdx.x % 32 == 0) BarrierArrive(b.finished + 8 * tile.run);
      if (threadIdx.x < kSplit) BarrierArriveIn(AddressIn(b.may_send, threadIdx.x));
    });
  }
}

#endif

template <typename T, typename Weight, int kColumns>
__global__ void __launch_bounds__(kThreads, 1) Kernel(const __grid_constant__ Chain chain) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char shared[];
  LetNextKernelStart();
  const Block<T, Weight, kColumns> block(chain, shared);
  const int warp = Warp();
  if (threadIdx.x == 0) block.InitBarriers();
  __syncthreads();
  ClusterArrive();
  if (warp < kWarps) {
    ClusterWait();  // the others' barriers are there
    MultiplyAll(block);
  } else {
    warp == kWarps ? CopyWeights(block) : warp == kWarps + 1 ? CopyRows(block) : TellEnds(block);
    __syncwarp();
    ClusterWait();
  }
#endif
}

// ---------------------------------------------------------------- launching

// Clusters that run at the same time, one block per SM; 0 where an SM has too little shared memory. Asked once.
template <int kColumns>
int MostClusters() {
  const auto kernel = reinterpret_cast<const void*>(Kernel<__half, __half, kColumns>);
  static const int known = std::min(kMostClusters, kernels::MostClusters(kernel, Grid{dim3(kSplit), kThreads, SharedBytes(kColumns), kSplit}));
  return known;
}

// What blocks tell each other through memory.
struct Workspace {
  unsigned long long *arrivals, *arrivals_before;
  float* squares;
};

// Allocated once, outside of captures.
const Workspace& OwnWorkspace() {
  static const Workspace known = [] {
    const size_t arrivals = sizeof(unsigned long long) * 2 * kMostRuns * kCountersApart;
    const size_t squares = sizeof(float) * kMostChained * kMostClusters * kMostStreamedRows;
    Workspace made = {};
    if (cudaMalloc(&made.arrivals, arrivals) != cudaSuccess || cudaMemset(made.arrivals, 0, arrivals) != cudaSuccess ||
        cudaMalloc(&made.squares, squares) != cudaSuccess) {
      throw std::runtime_error("no GPU memory for streamed products");
    }
    made.arrivals_before = made.arrivals + kMostRuns * kCountersApart;
    return made;
  }();
  return known;
}

Phase PhaseOf(const StreamedProduct& p, int rows, int columns, const Cut& cut, int k_runs) {
  const int weight_bytes = p.scales != nullptr ? 1 : 2;
  return {MapPairs({p.weight, p.k, p.n, p.k * int64_t{weight_bytes}, weight_bytes}, p.gated, kPairs),
          MapMatrix({p.x, p.k, rows, p.x_stride * 2, 2}, columns),
          p.scales,
          p.residual,
          p.y,
          p.next_norm,
          p.weighted,
          p.n,
          p.k,
          k_runs,
          p.gated,
          p.normed,
          cut};
}

template <typename T, typename Weight, int kColumns>
void Launch(const ProductChain& products, cudaStream_t stream) {
  const auto kernel = Kernel<T, Weight, kColumns>;
  static const cudaError_t raised = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, SharedBytes(kColumns));
  if (raised != cudaSuccess) throw std::runtime_error(cudaGetErrorString(raised));
  const ChainCut cut = CutChain(products, kColumns, MostClusters<kColumns>());
  const Workspace& own = OwnWorkspace();
  Chain chain = {{}, products.count, products.rows, products.eps, cut.stages, cut.stage_bytes, cut.exchange_bytes,
                 own.squares, own.arrivals, own.arrivals_before};
  for (int i = 0; i < products.count; ++i) {
    chain.phases[i] = PhaseOf(products.products[i], products.rows, kColumns, cut.cuts[i], i > 0 ? cut.cuts[i - 1].runs : 1);
  }
  LaunchDependent(kernel, Grid{dim3(kSplit * cut.clusters), kThreads, static_cast<size_t>(cut.SharedBytes()), kSplit}, stream, chain);
}

// Calls with what a kernel is compiled for that takes so many rows.
template <typename Function>
auto WithColumns(int rows, Function function) {
  if (rows <= 8) return function(std::integral_constant<int, 8>());
  if (rows <= 16) return function(std::integral_constant<int, 16>());
  if (rows <= 32) return function(std::integral_constant<int, 32>());
  return function(std::integral_constant<int, kMostStreamedRows>());
}

bool IsAligned(const StreamedProduct& p) {
  return reinterpret_cast<uintptr_t>(p.x) % 16 == 0 && reinterpret_cast<uintptr_t>(p.weight) % 16 == 0 && p.x_stride % 8 == 0;
}

}  // namespace
}  // namespace stream

bool CanStreamWeights(Element type, const ProductChain& chain) {
  const int most_rows = chain.products[0].scales != nullptr ? kMostStreamedE4m3Rows : kMostStreamedRows;
  if (type == Element::kFloat32 || chain.rows < 1 || chain.rows > most_rows || !HasTensorMaps() || !IsSm90()) return false;
  const bool alike = std::all_of(chain.products, chain.products + chain.count, [&](const StreamedProduct& p) {
    return stream::IsAligned(p) && (p.scales != nullptr) == (chain.products[0].scales != nullptr);
  });
  return alike && stream::WithColumns(chain.rows, [&](auto columns) {
    return stream::CanCut(chain, columns(), stream::MostClusters<columns()>());
  });
}

void StreamWeights(Element type, const ProductChain& chain, cudaStream_t stream) {
  const bool e4m3 = chain.products[0].scales != nullptr;
  const auto run = [&](auto element) {
    using T = decltype(element);
    stream::WithColumns(chain.rows, [&](auto columns) {
      if constexpr (columns() <= kMostStreamedE4m3Rows) {
        if (e4m3) return stream::Launch<T, uint8_t, columns()>(chain, stream);
      }
      stream::Launch<T, T, columns()>(chain, stream);
    });
  };
  type == Element::kFloat16 ? run(__half{}) : run(__nv_bfloat16{});
}

}  // namespace llavamini::kernels
