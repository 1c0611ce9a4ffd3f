// How a product with an activation is cut into tiles, and what a block has in shared memory (activated_product.cu says how it runs).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "model/cuda/sm90/cluster.cuh"
#include "model/cuda/sm90/tensor_map.h"

namespace llavamini::kernels::activated {

constexpr int kCluster = 2;  // blocks that share a tile's rows of x
constexpr int kGroups = 2;   // warp groups of a block that multiply, each its unit of the weights' rows
constexpr int kUnit = 64;
constexpr int kBlockUnits = kGroups * kUnit;  // the weights' rows that a block takes
constexpr int kMultiplyingWarps = 4 * kGroups;
constexpr int kActivatingWarps = 3;
constexpr int kThreads = 32 * (kMultiplyingWarps + kActivatingWarps + 1);  // one warp copies
constexpr int kBoxK = kBoxBytes / 2;                                       // K's of a stage
constexpr int kAlignment = 1024;
constexpr int kMostShared = 227 * 1024;  // of an SM
constexpr int kFewestStages = 4;
// What a warp group has multiplied goes to the activating warps in pieces, 32 rows of x by a unit.
constexpr int kPieceBlocks = 4;  // of eight rows
constexpr int kPieceRows = 8 * kPieceBlocks;
constexpr int kPieceBytes = kPieceRows * kUnit * 2;
constexpr int kBarrierBytes = 1024;  // at most
// Tiles one after another have the same weights, and so many tiles of x among them: what the caches hold.
constexpr int kTogether = 8;

struct Problem {
  CUtensorMap weight, x;
  const void* bias;  // [n], or null
  void* y;           // [rows, width]
  int rows, width;
  int boxes;                   // of K
  int row_tiles, weight_tiles;  // of a cluster
};

// Tiles of kRows rows of x by kCluster · kBlockUnits of the weights.
template <int kRows>
struct Tiling {
  static constexpr int kBlocks = kRows / 8;
  static constexpr int kPart = (kRows / kCluster + 7) / 8 * 8;  // the rows that one block copies for all; parts may overlap
  static constexpr int kWeightBytes = kBlockUnits * kBoxBytes, kStageBytes = kWeightBytes + kRows * kBoxBytes;
  static constexpr int kReceivedBytes = kWeightBytes + kCluster * kPart * kBoxBytes;  // of a stage
  static constexpr int kPieces = (kBlocks + kPieceBlocks - 1) / kPieceBlocks;         // of a tile and a group
  static constexpr int kRoom = kMostShared - kAlignment - kBarrierBytes;
  // As many stages as leave room for all pieces of a tile, so that the next tile need not wait.
  static constexpr int kStagesBesidePieces = (kRoom - kGroups * kPieces * kPieceBytes) / kStageBytes;
  static constexpr int kStages = kStagesBesidePieces > kFewestStages ? kStagesBesidePieces : kFewestStages;
  static constexpr int kSlots = (kRoom - kStages * kStageBytes) / kPieceBytes / kGroups;  // for pieces of a group
  static constexpr bool kHoldsTile = kPieces <= kSlots;

  static constexpr int kBarriers = 2 * kStages + 2 * kGroups * kSlots;
  static constexpr int kShared = kAlignment + kStages * kStageBytes + kGroups * kSlots * kPieceBytes + 8 * kBarriers;
  static_assert(kStageBytes % kAlignment == 0 && kSlots > 0 && 8 * kBarriers <= kBarrierBytes && kShared <= kMostShared);
};

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A tile of the cluster's, of all row_tiles · weight_tiles.
struct Tile {
  int rows, weights;
};
__device__ inline Tile TileAt(const Problem& p, int index) {
  const int band = kTogether * p.weight_tiles, first = index / band * kTogether, rows = min(kTogether, p.row_tiles - first);
  return {first + index % band % rows, index % band / rows};
}

// Shared addresses.
template <int kRows>
struct Shared {
  using T = Tiling<kRows>;
  // Barriers: of each stage, that it is full (the copying thread) and empty again (all multiplying warps of the cluster); of each slot for
  // a piece, that it is made (the warps of a group) and taken (the warp that activates it).
  uint32_t stages, pieces, full, empty, made, taken;

  __device__ explicit Shared(uint32_t start) {
    stages = (start + kAlignment - 1) / kAlignment * kAlignment;
    pieces = stages + T::kStages * T::kStageBytes;
    full = pieces + kGroups * T::kSlots * kPieceBytes;
    empty = full + 8 * T::kStages;
    made = empty + 8 * T::kStages;
    taken = made + 8 * kGroups * T::kSlots;
  }

  __device__ void InitBarriers() const {
    for (int i = 0; i < T::kStages; ++i) {
      BarrierInit(full + 8 * i, 1);
      BarrierInit(empty + 8 * i, kCluster * kMultiplyingWarps);
    }
    for (int i = 0; i < kGroups * T::kSlots; ++i) {
      BarrierInit(made + 8 * i, 4);
      BarrierInit(taken + 8 * i, 1);
    }
    BarrierInitDone();
  }
};

#endif

}  // namespace llavamini::kernels::activated
