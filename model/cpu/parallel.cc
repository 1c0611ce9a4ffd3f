#include "model/cpu/parallel.h"

#include <ATen/Parallel.h>

namespace llavamini::ops::cpu {

// Compiled for OpenMP, as no other file is: without, LibTorch's header runs the loop on one thread.
void Parallel(int64_t count, int64_t grain, c10::function_ref<void(int64_t, int64_t)> loop) {
  at::parallel_for(0, count, grain, loop);
}

}  // namespace llavamini::ops::cpu
