#include "client/bench/statistics.h"

#include <algorithm>
#include <numeric>

namespace llavamini::bench {

double NearestRank(absl::Span<const float> sorted, int percent) {
  const size_t rank = (static_cast<size_t>(percent) * sorted.size() + 99) / 100;  // from 1
  return sorted[rank - 1];
}

Summary Summarise(std::vector<float> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {.count = static_cast<int64_t>(values.size()),
          .mean = sum / static_cast<double>(values.size()),
          .p50 = NearestRank(values, 50),
          .p90 = NearestRank(values, 90),
          .p99 = NearestRank(values, 99),
          .max = values.back()};
}

}  // namespace llavamini::bench
