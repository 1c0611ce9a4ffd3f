// Products of many rows on sm_90 whose results go through an activation before they leave the chip: what a pass over them would read and
// write again is saved. One block per SM takes tile after tile, and its warps have one task each, so that none waits for another's: one
// copies both operands into a ring of stages, two groups of four multiply, three more activate what these have just made. Two blocks, a
// cluster, take neighbouring rows of the weights and the same rows of x, of which each copies a half into both.
#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "model/cuda/activated/activation.cuh"
#include "model/cuda/activated/tile.cuh"
#include "model/cuda/fragments.cuh"
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/sm90/slot.cuh"
#include "model/cuda/sm90/tensor_map.h"
#include "model/cuda/sm90/warp_group.cuh"

namespace llavamini::kernels {
namespace activated {
namespace {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// The tiles that this block's cluster takes, from `cluster` on in steps of `clusters`.
struct OwnTiles {
  int cluster, clusters, all;
  __device__ explicit OwnTiles(const Problem& p)
      : cluster(blockIdx.x / kCluster), clusters(gridDim.x / kCluster), all(p.row_tiles * p.weight_tiles) {}
  __device__ int Count() const { return (all - cluster + clusters - 1) / clusters; }
  __device__ int At(int i) const { return cluster + i * clusters; }
};

// One thread. Weights depend on no earlier kernel: as many of the first tile's as there is room for go ahead.
template <int kRows>
__device__ void Copy(const Problem& p, const Shared<kRows>& shared, const OwnTiles& tiles, int rank) {
  using T = Tiling<kRows>;
  const int own = min(rank * T::kPart, kRows - T::kPart);
  const auto copy_weights = [&](const Slot& slot, const Tile& tile, int box) {
    const uint32_t full = shared.full + 8 * slot.index;
    if (!slot.first_round) BarrierWait(shared.empty + 8 * slot.index, slot.parity ^ 1);
    BarrierExpect(full, T::kReceivedBytes);
    CopySixteens(shared.stages + slot.index * T::kStageBytes, &p.weight, box * kBoxK, (tile.weights * kCluster + rank) * (kBlockUnits / 16),
                 full, kEvictNormal);
  };
  const auto copy_rows = [&](const Slot& slot, const Tile& tile, int box) {
    CopyBoxToAll(shared.stages + slot.index * T::kStageBytes + T::kWeightBytes + own * kBoxBytes, &p.x, box * kBoxK,
                 tile.rows * kRows + own, shared.full + 8 * slot.index, kCluster, kEvictNormal);
  };
  const Tile first = TileAt(p, tiles.At(0));
  const int ahead = min(T::kStages, p.boxes);
  Slot early, slot;
  for (int box = 0; box < ahead; ++box, early.Advance(T::kStages)) copy_weights(early, first, box);
  AwaitEarlierKernels();
  for (int box = 0; box < ahead; ++box, slot.Advance(T::kStages)) copy_rows(slot, first, box);
  for (int i = 0; i < tiles.Count(); ++i) {
    const Tile tile = TileAt(p, tiles.At(i));
    for (int box = i == 0 ? ahead : 0; box < p.boxes; ++box, slot.Advance(T::kStages)) {
      copy_weights(slot, tile, box);
      copy_rows(slot, tile, box);
    }
  }
}

// A warp's part of its group's unit times a tile's rows.
template <typename T, int kRows>
__device__ void MultiplyTile(const Problem& p, const Shared<kRows>& shared, int group, Slot& slot, float (&c)[kRows / 8][4]) {
  const int lane = threadIdx.x % 32;
  const auto give_back = [&](int stage) {
    if (lane < kCluster) BarrierArriveIn(AddressIn(shared.empty + 8 * stage, lane));
  };
  int before = 0;
  for (int box = 0; box < p.boxes; ++box) {
    BarrierWait(shared.full + 8 * slot.index, slot.parity);
    const uint32_t weights = shared.stages + slot.index * Tiling<kRows>::kStageBytes, rows = weights + Tiling<kRows>::kWeightBytes;
    GroupBegin();
#pragma unroll
    for (int k = 0; k < kBoxBytes; k += 32) {
      GroupMultiplyAdd<T>(c, GroupOperand(weights + group * kUnit * kBoxBytes + k), GroupOperand(rows + k), box > 0 || k > 0);
    }
    GroupCommit();
    if (box > 0) {
      GroupWait<1>();
      give_back(before);
    }
    before = slot.index;
    slot.Advance(Tiling<kRows>::kStages);
  }
  GroupWait();
  give_back(before);
}

// What a warp has of a tile, to where the activating warps find it; `slot` is the group's first.
template <typename T, int kRows>
__device__ void HandOver(const Shared<kRows>& shared, int group, Slot& slot, const float (&c)[kRows / 8][4]) {
  constexpr int kBlocks = kRows / 8, kSlots = Tiling<kRows>::kSlots;
  const int lane = threadIdx.x % 32, matrix = lane / 8, in_matrix = lane % 8, part = 2 * (threadIdx.x / 32 % 4) + matrix % 2;
#pragma unroll
  for (int first = 0; first < kBlocks; first += kPieceBlocks) {
    const int index = group * kSlots + slot.index;
    if (!slot.first_round) BarrierWait(shared.taken + 8 * index, slot.parity ^ 1);
    const uint32_t piece = shared.pieces + index * kPieceBytes;
#pragma unroll
    for (int j = first; j < min(first + kPieceBlocks, kBlocks); j += 2) {
      constexpr float kNothing[4] = {};
      const float(&even)[4] = c[j];
      const float(&odd)[4] = j + 1 < kBlocks ? c[(j + 1) % kBlocks] : kNothing;
      const unsigned pairs[4] = {Pack<T>(even[0], even[1]), Pack<T>(even[2], even[3]), Pack<T>(odd[0], odd[1]), Pack<T>(odd[2], odd[3])};
      const int row = (j - first + matrix / 2) * 8 + in_matrix;
      StoreTransposed(piece + row * kBoxBytes + ((part ^ in_matrix) << 4), pairs);
    }
    __syncwarp();
    if (lane == 0) BarrierArrive(shared.made + 8 * index);
    slot.Advance(kSlots);
  }
}

// The pieces of a tile whose turn it is: `turn` counts down to this warp's next, of `workers` warps. `slot` is that of the first pieces;
// returns that of the next tile's.
template <typename T, int kRows, Activation kActivation>
__device__ Slot ActivateTile(const Problem& p, const Shared<kRows>& shared, const Tile& tile, int rank, Slot slot, int& turn, int workers) {
  constexpr int kSlots = Tiling<kRows>::kSlots;
  for (int first = 0; first < kRows; first += kPieceRows, slot.Advance(kSlots)) {
    for (int group = 0; group < kGroups; ++group) {
      if (turn-- > 0) continue;
      turn = workers - 1;
      const int index = group * kSlots + slot.index;
      BarrierWait(shared.made + 8 * index, slot.parity);
      const auto* piece = static_cast<const unsigned char*>(__cvta_shared_to_generic(shared.pieces + index * kPieceBytes));
      ActivatePiece<T, kActivation>(p, piece, (tile.weights * kCluster + rank) * kGroups + group, tile.rows * kRows + first, kRows - first);
      __syncwarp();
      if (threadIdx.x % 32 == 0) BarrierArrive(shared.taken + 8 * index);
    }
  }
  return slot;
}

#endif

template <typename T, int kRows, Activation kActivation>
__global__ void __launch_bounds__(kThreads, 1) Kernel(const __grid_constant__ Problem p) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  const Shared<kRows> shared(SharedAddress(memory));
  const OwnTiles tiles(p);
  const int warp = Warp(), lane = threadIdx.x % 32, rank = blockIdx.x % kCluster;
  if (threadIdx.x == 0) shared.InitBarriers();
  LetNextKernelStart();
  __syncwarp();
  ClusterArrive();
  ClusterWait();
  // The last tile is activated by all, where all of it can be handed over before any of it is taken.
  constexpr bool kAllHelp = Tiling<kRows>::kHoldsTile;
  constexpr int kHelping = kAllHelp ? kActivatingWarps + kMultiplyingWarps : kActivatingWarps;
  const int last = tiles.Count() - 1;
  if (warp < kMultiplyingWarps) {
    Slot stage, piece, before;
    for (int i = 0; i <= last; ++i) {
      float c[kRows / 8][4];
      MultiplyTile<T, kRows>(p, shared, warp / 4, stage, c);
      before = piece;
      HandOver<T, kRows>(shared, warp / 4, piece, c);
    }
    int turn = kActivatingWarps + warp;
    if (kAllHelp) ActivateTile<T, kRows, kActivation>(p, shared, TileAt(p, tiles.At(last)), rank, before, turn, kHelping);
  } else if (warp < kMultiplyingWarps + kActivatingWarps) {
    Slot piece;
    int turn = warp - kMultiplyingWarps;
    for (int i = 0; i <= last; ++i) {
      if (kAllHelp && i == last) turn = warp - kMultiplyingWarps;
      piece = ActivateTile<T, kRows, kActivation>(p, shared, TileAt(p, tiles.At(i)), rank, piece, turn, i == last ? kHelping : kActivatingWarps);
    }
  } else if (lane == 0) {
    Copy<kRows>(p, shared, tiles, rank);
  }
  __syncwarp();
  // None leaves while the other copies to it, or tells it that a stage is empty.
  ClusterArrive();
  ClusterWait();
#endif
}

int Tiles(int64_t size, int tile) { return static_cast<int>((size + tile - 1) / tile); }

template <int kRows>
Grid GridOf(int clusters) {
  return {dim3(static_cast<unsigned>(kCluster * clusters)), kThreads, Tiling<kRows>::kShared, kCluster};
}

// Clusters that run at the same time, one block per SM; 0 where an SM has too little shared memory. Asked once.
template <typename T, int kRows, Activation kActivation>
int MostClusters() {
  const auto kernel = reinterpret_cast<const void*>(Kernel<T, kRows, kActivation>);
  static const int known = kernels::MostClusters(kernel, GridOf<kRows>(1));
  return known;
}

template <typename T, int kRows, Activation kActivation>
void Launch(const ActivatedProduct& product, cudaStream_t stream) {
  constexpr bool kGated = kActivation == Activation::kSiluGate;
  const int most_clusters = MostClusters<T, kRows, kActivation>();
  if (most_clusters == 0) throw std::runtime_error("this GPU cannot run a product with its activation");
  const Problem problem{MapSixteens({product.weight, product.k, product.n, product.k * int64_t{2}, 2}, kGated, kBlockUnits / 16),
                        MapMatrix({product.x, product.k, product.rows, product.x_stride * 2, 2}, Tiling<kRows>::kPart),
                        product.bias,
                        product.y,
                        product.rows,
                        kGated ? product.n / 2 : product.n,
                        Tiles(product.k, kBoxK),
                        Tiles(product.rows, kRows),
                        Tiles(product.n, kCluster * kBlockUnits)};
  const int clusters = std::min(problem.row_tiles * problem.weight_tiles, most_clusters);
  LaunchDependent(Kernel<T, kRows, kActivation>, GridOf<kRows>(clusters), stream, problem);
}

template <typename T, int kRows>
void Launch(const ActivatedProduct& product, cudaStream_t stream) {
  switch (product.activation) {
    case Activation::kQuickGelu:
      return Launch<T, kRows, Activation::kQuickGelu>(product, stream);
    case Activation::kGelu:
      return Launch<T, kRows, Activation::kGelu>(product, stream);
    case Activation::kSiluGate:
      return Launch<T, kRows, Activation::kSiluGate>(product, stream);
  }
}

// The kernel of whichever of kActivatedTiles it is.
template <typename T, size_t... kTile>
void Launch(const ActivatedProduct& product, int tile_rows, cudaStream_t stream, std::index_sequence<kTile...>) {
  const bool launched =
      ((tile_rows == kActivatedTiles[kTile] && (Launch<T, kActivatedTiles[kTile]>(product, stream), true)) || ...);
  if (!launched) throw std::invalid_argument("no such tile");
}

bool IsAligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

}  // namespace
}  // namespace activated

bool CanActivateProduct(Element type, const ActivatedProduct& p) {
  return type != Element::kFloat32 && IsSm90() && HasTensorMaps() && p.rows > 0 && p.n % 16 == 0 && p.k % 8 == 0 && p.x_stride % 8 == 0 &&
         activated::IsAligned(p.x) && activated::IsAligned(p.weight) && activated::IsAligned(p.bias) &&
         activated::IsAligned(p.y) && (p.bias == nullptr || p.activation != Activation::kSiluGate) &&
         activated::MostClusters<__half, kActivatedTiles[0], Activation::kGelu>() > 0;
}

void ActivateProduct(Element type, const ActivatedProduct& product, int tile_rows, cudaStream_t stream) {
  const auto tiles = std::make_index_sequence<std::size(kActivatedTiles)>();
  if (type == Element::kFloat16) return activated::Launch<__half>(product, tile_rows, stream, tiles);
  activated::Launch<__nv_bfloat16>(product, tile_rows, stream, tiles);
}

}  // namespace llavamini::kernels
