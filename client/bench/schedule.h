// When requests of an open loop are due, and how long a load lasts. Pure: no clock.
#pragma once

#include <cstdint>
#include <limits>
#include <random>

namespace llavamini::bench {

// A load ends with whichever comes first.
struct Limit {
  uint64_t requests = std::numeric_limits<uint64_t>::max();
  int64_t duration_ns = std::numeric_limits<int64_t>::max();  // in which requests may start
};

// The arrivals of a Poisson process: gaps are independent and exponential, their mean is 1/rate.
// The same seed gives the same arrivals on every machine.
class PoissonArrivals {
 public:
  // rate: arrivals per second, above 0.
  PoissonArrivals(double rate, uint64_t seed) : rate_(rate), random_(seed) {}

  // Nanoseconds from the start of the load to the next arrival; the first arrival is one gap after
  // the start.
  int64_t Next();

 private:
  const double rate_;
  std::mt19937_64 random_;
  double seconds_ = 0;
};

}  // namespace llavamini::bench
