// Which kernels some work runs, and for how long: CUPTI's activity records, graphs included.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace llavamini {

struct KernelTime {
  std::string name;
  int64_t calls = 0;
  // From the end of the kernels before, where it started earlier, to its own.
  double milliseconds = 0;
};

// Runs `work`, which waits for the device itself. Longest first.
std::vector<KernelTime> ProfileKernels(const std::function<void()>& work);

}  // namespace llavamini
