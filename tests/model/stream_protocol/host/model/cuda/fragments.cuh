// model/cuda/fragments.cuh for threads of the host: a shared address is a distance from the block's memory.
#pragma once

#include <cstdint>

namespace llavamini::kernels {

inline uint32_t SharedAddress(const void* /*start*/) { return 0; }

}  // namespace llavamini::kernels
