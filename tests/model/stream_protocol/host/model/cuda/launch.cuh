// model/cuda/launch.cuh for threads of the host: nothing runs ahead of a chain.
#pragma once

namespace llavamini::kernels {

inline void AwaitEarlierKernels() {}

}  // namespace llavamini::kernels
