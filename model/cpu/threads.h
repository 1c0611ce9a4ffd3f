// How many threads the CPU path starts with when nobody says. Called at load.
#pragma once

#include <string_view>

namespace llavamini::cpu {

// LibTorch's choice, one per physical core that the process may use, but no more than the whole
// cores of the control group's quota: threads beyond it are only stopped in the middle of a
// product.
int DefaultThreads();

// Cores that a control group's cpu.max ("200000 100000": microseconds, of each so many) allows,
// rounded up; 0 when it sets no limit, or is none.
int QuotaCores(std::string_view cpu_max);

}  // namespace llavamini::cpu
