#include "client/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "client/bench/schedule.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini::bench {
namespace {

TEST(NearestRank, IsTheSmallestValueThatCoversTheShare) {
  std::vector<float> hundred(100);
  std::iota(hundred.begin(), hundred.end(), 1.0f);
  const struct {
    std::vector<float> sorted;
    int percent;
    double value;
  } kCases[] = {
      {{7}, 1, 7},
      {{7}, 50, 7},
      {{7}, 100, 7},
      {{1, 2}, 50, 1},
      {{1, 2}, 51, 2},
      {{15, 20, 35, 40, 50}, 30, 20},  // the textbook's example
      {{15, 20, 35, 40, 50}, 40, 20},
      {{15, 20, 35, 40, 50}, 50, 35},
      {{15, 20, 35, 40, 50}, 100, 50},
      {hundred, 7, 7},  // in floating point 0.07 * 100 is above 7
      {hundred, 99, 99},
      {hundred, 100, 100},
  };
  for (const auto& each : kCases) {
    EXPECT_EQ(NearestRank(each.sorted, each.percent), each.value)
        << each.percent << " % of " << each.sorted.size();
  }
}

TEST(Summarise, SortsFirst) {
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), 1.0f);
  std::shuffle(values.begin(), values.end(), std::mt19937(3));
  const Summary summary = Summarise(values);
  EXPECT_EQ(summary.count, 1000);
  EXPECT_EQ(summary.mean, 500.5);
  EXPECT_EQ(summary.p50, 500);
  EXPECT_EQ(summary.p90, 900);
  EXPECT_EQ(summary.p99, 990);
  EXPECT_EQ(summary.max, 1000);
}

TEST(Summarise, OfNothingIsZero) {
  const Summary summary = Summarise({});
  EXPECT_EQ(summary.count, 0);
  EXPECT_EQ(summary.mean, 0);
  EXPECT_EQ(summary.max, 0);
}

std::vector<int64_t> Arrivals(double rate, uint64_t seed, int count) {
  PoissonArrivals arrivals(rate, seed);
  std::vector<int64_t> times;
  for (int i = 0; i < count; ++i) times.push_back(arrivals.Next());
  return times;
}

TEST(PoissonArrivals, FollowFromTheSeed) {
  EXPECT_EQ(Arrivals(20, 5, 1000), Arrivals(20, 5, 1000));
  EXPECT_NE(Arrivals(20, 5, 1000), Arrivals(20, 6, 1000));
  // The same on every machine: rising times in nanoseconds, fixed for this seed.
  EXPECT_THAT(Arrivals(1, 1, 3), testing::ElementsAre(2010836470, 4002948418, 4798759966));
}

TEST(PoissonArrivals, HaveExponentialGapsOfTheRightMean) {
  constexpr int kCount = 100'000;
  for (const double rate : {0.5, 10.0, 2000.0}) {
    const std::vector<int64_t> times = Arrivals(rate, 1, kCount);
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    const double mean_s = static_cast<double>(times.back()) * 1e-9 / kCount;
    EXPECT_NEAR(mean_s * rate, 1, 0.02) << rate;
    // Of an exponential distribution, 1/e of the gaps are longer than the mean.
    int longer = 0;
    for (int i = 0; i < kCount; ++i) {
      longer += static_cast<double>(times[i] - (i == 0 ? 0 : times[i - 1])) * 1e-9 * rate > 1;
    }
    EXPECT_NEAR(longer / double{kCount}, std::exp(-1), 0.01) << rate;
  }
}

TEST(PoissonArrivals, OfTwiceTheRateAreTheSameAtHalfTheTime) {
  const std::vector<int64_t> slow = Arrivals(10, 9, 100);
  const std::vector<int64_t> fast = Arrivals(20, 9, 100);
  for (size_t i = 0; i < slow.size(); ++i) EXPECT_NEAR(slow[i] / 2, fast[i], 2);
}

}  // namespace
}  // namespace llavamini::bench
