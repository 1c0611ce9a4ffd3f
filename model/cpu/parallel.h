// Threads for the loops of this folder: LibTorch's own, which its operators and oneDNN's use as
// well.
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace llavamini::ops::cpu {

// Calls loop(first, last) for parts of 0 … count - 1, at least `grain` long, on
// at::get_num_threads() threads.
void Parallel(int64_t count, int64_t grain, c10::function_ref<void(int64_t, int64_t)> loop);

}  // namespace llavamini::ops::cpu
