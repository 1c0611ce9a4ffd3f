#include "client/bench/schedule.h"

#include <cmath>

namespace llavamini::bench {

int64_t PoissonArrivals::Next() {
  // Uniform in (0, 1], from the upper 53 bits. std::exponential_distribution differs by library.
  const double uniform = static_cast<double>((random_() >> 11) + 1) * 0x1p-53;
  seconds_ -= std::log(uniform) / rate_;
  return static_cast<int64_t>(seconds_ * 1e9);
}

}  // namespace llavamini::bench
