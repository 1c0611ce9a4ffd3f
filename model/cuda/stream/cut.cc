#include "model/cuda/stream/cut.h"

#include <algorithm>
#include <cmath>

namespace llavamini::kernels::stream {
namespace {

constexpr int kLeastStage = 24 * 1024;  // bytes: fewer are not worth their barriers
constexpr int kFewestStages = 4;

// Units of a tile, at most. Two for a warp, since it reads rows of x once for both; but where the
// sums to exchange would take too much of the ring, and warp groups read rows by themselves, one.
int MostUnits(int columns, int weight_bytes) {
  return columns > 16 && weight_bytes == 2 ? kWarps : kMostUnits;
}

// A warp group reads the units of whole products, what lies behind a tile's last one among them.
constexpr int kReadBehind = (kGroup - 1) * kUnitBytes;

int Up(int value, int divisor) { return (value + divisor - 1) / divisor; }

int WeightBytes(const ProductChain& chain) { return chain.products[0].scales != nullptr ? 1 : 2; }
int UnitsOfShare(const StreamedProduct& p) { return p.gated ? 2 : 1; }
int SharesOf(const StreamedProduct& p) { return p.n / kUnit / UnitsOfShare(p); }
// What K is a multiple of, made in so many runs.
int KOf(int weight_bytes, int runs) { return kSpanBytes / weight_bytes * kSplit * runs; }

int RunsOf(const ProductChain& chain, int i, int clusters) {
  const StreamedProduct& p = chain.products[i];
  if (!p.gated || i + 1 == chain.count) return 1;
  const int shares = SharesOf(p);
  const bool halves = shares % kMostRuns == 0 && shares / kMostRuns >= clusters;
  return halves && chain.products[i + 1].k % KOf(WeightBytes(chain), kMostRuns) == 0 ? kMostRuns
                                                                                     : 1;
}

int ExchangeBytes(int columns, const Cut& cut) {
  return kSplit * cut.parts * cut.units * kUnit * Pitch(columns / kSplit) * 4;
}

// Few tiles per cluster, of equal size and at most so many units.
Cut CutProduct(const StreamedProduct& p, int runs, int clusters, int most_units) {
  const int width = UnitsOfShare(p), shares = SharesOf(p) / runs, own = Up(shares, clusters);
  const int tile = Up(own, Up(own * width, most_units)), units = tile * width;
  return {runs, shares, tile, units, units <= kGroup ? 2 : 1, 0};
}

// Spans of a stage of so many bytes: a copy per lane at most.
int SpansOf(const Cut& cut, int span_bytes, int stage_bytes) {
  return std::min(stage_bytes / span_bytes, 32 / cut.units);
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
          stages * own.units * SpansOf(own, SpanBytes(columns, weight_bytes, own.units), bytes);
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
    own.spans = SpansOf(own, SpanBytes(columns, weight_bytes, own.units), cut.stage_bytes);
  }
  return least < HUGE_VAL;
}

}  // namespace

bool CanCut(const ProductChain& chain, int columns, int most_clusters) {
  for (int i = 0; i < chain.count; ++i) {
    const StreamedProduct& p = chain.products[i];
    const bool follows =
        i == 0 || p.k == chain.products[i - 1].n / UnitsOfShare(chain.products[i - 1]);
    if (!follows || p.k % KOf(WeightBytes(chain), /*runs=*/1) != 0 ||
        p.n % (kUnit * UnitsOfShare(p)) != 0 || SharesOf(p) < most_clusters) {
      return false;
    }
  }
  return most_clusters > 0 && CutChain(chain, columns, most_clusters).stages > 0;
}

ChainCut CutChain(const ProductChain& chain, int columns, int most_clusters) {
  ChainCut best = {};
  // As many clusters as the largest shares need: more would end before the others.
  for (int i = 0; i < chain.count; ++i) {
    const int shares = SharesOf(chain.products[i]) / RunsOf(chain, i, most_clusters);
    best.clusters = std::max(best.clusters, Up(shares, Up(shares, most_clusters)));
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
