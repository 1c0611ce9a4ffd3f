// A place in a ring that some warps of a block fill and others empty, each in the same order.
#pragma once

namespace llavamini::kernels {

struct Slot {
  int index = 0, parity = 0;
  bool first_round = true;

  __device__ void Advance(int slots) {
    if (++index < slots) return;
    index = 0;
    parity ^= 1;
    first_round = false;
  }
};

}  // namespace llavamini::kernels
