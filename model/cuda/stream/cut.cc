#include "model/cuda/stream/cut.h"

#include <algorithm>
#include <cmath>

namespace llavamini::kernels::stream {
namespace {

constexpr int kLeastStage = 24 * 1024;  // bytes: fewer are not worth their barriers
constexpr int kFewestStages = 4;

// Units of a tile, at most: two for a warp. With many rows their sums would take much of the ring;
// but e4m3, which meets rows one warp by itself, meets them once for both.
int MostUnits(int columns, int weight_bytes) {
  return columns > 16 && weight_bytes == 2 ? kWarps : kMostUnits;
}

// A warp group reads the units of whole products, what lies behind a tile's last one among them.
constexpr int kReadBehind = (kGroup - 1) * kUnitBytes;

int Up(int value, int divisor) { return (value + divisor - 1) / divisor; }

int WeightBytes(const ProductChain& chain) { return chain.products[0].scales != nullptr ? 1 : 2; }
int UnitsOf(const StreamedProduct& p) { return p.n / kUnit; }
// What K is a multiple of, made in so many runs.
int KOf(int weight_bytes, int runs) { return kSpanBytes / weight_bytes * kSplit * runs; }

int RunsOf(const ProductChain& chain, int i, int clusters) {
  const StreamedProduct& p = chain.products[i];
  if (!p.gated || i + 1 == chain.count) return 1;
  const int units = UnitsOf(p);
  const bool halves = units % kMostRuns == 0 && units / kMostRuns >= clusters;
  return halves && chain.products[i + 1].k % KOf(WeightBytes(chain), kMostRuns) == 0 ? kMostRuns
                                                                                     : 1;
}

int ExchangeBytes(int columns, const Cut& cut) {
  constexpr int kBytes = kMultiplying * 8;  // a pair of each thread
  const int blocks = columns / 8;
  const int pairs = cut.parts == 1 ? Up(cut.tile, kWarps) * blocks : 3 * Up(blocks, 2);
  return pairs * kBytes;
}

// Few tiles per cluster, of equal size and at most so many units.
Cut CutProduct(const StreamedProduct& p, int runs, int clusters, int most_units) {
  const int units = UnitsOf(p) / runs, own = Up(units, clusters),
            tile = Up(own, Up(own, most_units));
  return {runs, units, tile, tile <= kGroup ? 2 : 1, 0};
}

// Spans of a stage of so many bytes: a copy per lane at most.
int SpansOf(const Cut& cut, int span_bytes, int stage_bytes) {
  return std::min(stage_bytes / span_bytes, 32 / cut.tile);
}

// Fills in stages of one size for all products, such that as many weights as can be are on their
// way: the time that they leave out is in proportion to a product's weights, and to the inverse of
// what the ring holds of them. False where there is no room for tiles so large.
bool CutRing(const ProductChain& chain, int columns, ChainCut& cut) {
  const int weight_bytes = WeightBytes(chain),
            ring = SharedBytes(columns) - kFixedBytes - cut.exchange_bytes;
  double least = HUGE_VAL;
  cut.stages = 0;
  for (int stages = kFewestStages; stages <= kMostStages; ++stages) {
    const int bytes = ring / stages / kAlignment * kAlignment;
    if (bytes < kLeastStage) break;
    double left_out = 0;
    for (int i = 0; i < chain.count; ++i) {
      const Cut& own = cut.cuts[i];
      const int held =
          stages * own.tile * SpansOf(own, SpanBytes(columns, weight_bytes, own.tile), bytes);
      left_out += held == 0 ? HUGE_VAL
                            : static_cast<double>(chain.products[i].n) * chain.products[i].k / held;
    }
    if (left_out >= least) continue;
    least = left_out;
    cut.stages = stages;
    cut.stage_bytes = bytes;
  }
  for (int i = 0; i < chain.count; ++i) {
    Cut& own = cut.cuts[i];
    own.spans = SpansOf(own, SpanBytes(columns, weight_bytes, own.tile), cut.stage_bytes);
  }
  return least < HUGE_VAL;
}

}  // namespace

bool CanCut(const ProductChain& chain, int columns, int most_clusters) {
  for (int i = 0; i < chain.count; ++i) {
    const StreamedProduct& p = chain.products[i];
    const bool follows =
        i == 0 || p.k == chain.products[i - 1].n / (chain.products[i - 1].gated ? 2 : 1);
    if (!follows || p.k % KOf(WeightBytes(chain), /*runs=*/1) != 0 || p.n % kUnit != 0 ||
        UnitsOf(p) < most_clusters ||
        (p.gated && (p.residual != nullptr || p.next_norm != nullptr))) {
      return false;
    }
  }
  return most_clusters > 0 && CutChain(chain, columns, most_clusters).stages > 0;
}

ChainCut CutChain(const ProductChain& chain, int columns, int most_clusters) {
  ChainCut best = {};
  // As many clusters as the largest shares need: more would end before the others.
  for (int i = 0; i < chain.count; ++i) {
    const int units = UnitsOf(chain.products[i]) / RunsOf(chain, i, most_clusters);
    best.clusters = std::max(best.clusters, Up(units, Up(units, most_clusters)));
  }
  for (int most_units = MostUnits(columns, WeightBytes(chain)); most_units >= 2; most_units -= 2) {
    best.exchange_bytes = kReadBehind;
    for (int i = 0; i < chain.count; ++i) {
      best.cuts[i] =
          CutProduct(chain.products[i], RunsOf(chain, i, most_clusters), best.clusters, most_units);
      best.exchange_bytes =
          std::max(best.exchange_bytes, Up(ExchangeBytes(columns, best.cuts[i]), 16) * 16);
    }
    if (CutRing(chain, columns, best)) break;
  }
  return best;
}

}  // namespace llavamini::kernels::stream
