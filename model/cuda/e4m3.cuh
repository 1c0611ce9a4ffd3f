// Weights in e4m3 made wider for the matrix units.
#pragma once

#include <type_traits>

#include "model/cuda/element.cuh"

namespace llavamini::kernels {

// Two adjacent e4m3 of a word, its first or its second pair, as T, divided by kSpreadScale: their bits, moved to where T has its
// exponent's last bits and its fraction's first. Exact; small ones are subnormal numbers, which the matrix units take. (NaN, which
// QuantizeRows gives only where the scale is NaN as well, becomes 480.)
template <typename T>
constexpr float kSpreadScale = std::is_same_v<T, __half> ? 0x1p8F : 0x1p120F;
template <typename T>
__device__ inline unsigned SpreadPair(unsigned word, int pair) {
  constexpr int kShift = std::is_same_v<T, __half> ? 1 : 4;
  const unsigned spread = __byte_perm(word, 0, pair == 0 ? 0x1404 : 0x3424);  // to the high bytes of both halves
  return (spread & 0x80008000u) | (spread >> kShift & (0x7F007F00u >> kShift));
}

// The same, not divided.
template <typename T>
__device__ inline unsigned WidenPair(unsigned word, int pair) {
  const unsigned bits = SpreadPair<T>(word, pair);
  unsigned result;
  if constexpr (std::is_same_v<T, __half>) {
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(bits), "r"(0x5C005C00u));  // 2⁸
  } else {
    // 2¹²⁰, -0
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(bits), "r"(0x7B807B80u), "r"(0x80008000u));
  }
  return result;
}

}  // namespace llavamini::kernels
