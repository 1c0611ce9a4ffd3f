// Percentiles. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace llavamini::bench {

// The nearest-rank percentile, the only definition that the load generator uses: the smallest value
// such that at least `percent` in a hundred of the values are not above it. `sorted` is in rising
// order and not empty; percent is in [1, 100].
double NearestRank(absl::Span<const float> sorted, int percent);

// All zero when there are no values.
struct Summary {
  int64_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
};

Summary Summarise(std::vector<float> values);

}  // namespace llavamini::bench
