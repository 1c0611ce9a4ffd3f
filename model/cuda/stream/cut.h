// How a chain of products is cut among the blocks of StreamWeights (stream_weights.cu), and their
// shared memory: pure functions of sizes. A product's weights are cut into units of 16 rows, eight
// pairs: of adjacent rows or, gated, of a gate and its up. K is cut into spans of 128 bytes. A
// cluster takes an equal share of the units, in tiles; a tile's copies of one or some spans are a
// stage, which has a slot of the ring: for each span the rows of x, then the units.
#pragma once

#include "model/cuda/kernels.h"

namespace llavamini::kernels::stream {

constexpr int kGroup = 4;                  // warps of a warp group
constexpr int kWarps = 2 * kGroup;         // of a block, that multiply
constexpr int kMultiplying = 32 * kWarps;  // threads
// A warp more copies weights, one copies rows, one tells other blocks.
constexpr int kThreads = kMultiplying + 32 * 3;
constexpr int kSplit = 2;  // blocks of a cluster, each with its part of K
constexpr int kMostClusters = 132;
constexpr int kUnit = 16;  // rows of weights of a copy, and of a warp's part of a product
constexpr int kPairs = kUnit / 2;
constexpr int kMostUnits = 2 * kWarps;  // of a tile
constexpr int kMostRuns = 2;            // of a product
constexpr int kSpanBytes = 128;         // of K: what the copies' swizzle spans
constexpr int kUnitBytes = kUnit * kSpanBytes;
constexpr int kBoxK = 64;         // of one copy of rows of x, which has 16 bits
constexpr int kAlignment = 1024;  // of a copy in shared memory
constexpr int kMostStages = 12;

// Of x, per span; columns: of the product, which are x's rows.
constexpr int RowsBytes(int columns, int weight_bytes) {
  return kSpanBytes / weight_bytes / kBoxK * columns * kSpanBytes;
}
constexpr int SpanBytes(int columns, int weight_bytes, int units) {
  return RowsBytes(columns, weight_bytes) + units * kUnitBytes;
}
constexpr int kMostOwned =
    kMostStreamedRows / kSplit;  // columns that a block adds up: every other one

// Of an SM's 227 KiB: with few rows the rest is for the kernels between.
constexpr int SharedBytes(int columns) { return (columns > 16 ? 224 : 190) * 1024; }
constexpr int kScalesBytes = kMostOwned * (1 + kWarps) * 4;  // and squares
constexpr int kBarrierBytes = 8 * (2 * kMostStages + 2 + kMostRuns);
constexpr int kFixedBytes = kAlignment + kScalesBytes + kBarrierBytes;

// A gated product is made in two runs where it can, each of half its units, so that the next one
// begins with the K's that the first run made.
struct Cut {
  int runs;
  int units;  // of all clusters, in a run
  int tile;   // units of a tile, at most
  int parts;  // of each span: with few units two warps share one
  int spans;  // of a stage, at most
};

struct ChainCut {
  int clusters;
  Cut cuts[kMostChained];
  int stages, stage_bytes;
  int exchange_bytes;  // for what other blocks, and other parts of a span, have of a tile's sums

  int SharedBytes() const { return kFixedBytes + exchange_bytes + stages * stage_bytes; }
};

// Whether products of these sizes can be cut at all.
bool CanCut(const ProductChain& chain, int columns, int most_clusters);
// The best way: `most_clusters` can run at the same time.
ChainCut CutChain(const ProductChain& chain, int columns, int most_clusters);

}  // namespace llavamini::kernels::stream
