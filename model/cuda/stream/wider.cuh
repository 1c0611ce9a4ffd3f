// e4m3 weights and the rows that they meet, made what the matrix units of a warp take.
#pragma once

#include <type_traits>

#include "model/cuda/e4m3.cuh"
#include "model/cuda/stream/chain.cuh"

namespace llavamini::kernels::stream {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// To float16 the GPU converts two weights at once. Rows of bfloat16 must follow, divided by 16, so that numbers up to a million have
// room; with many of them it is less work to spread the weights' bits to what bfloat16 is.
template <typename Block>
struct Wider {
  using T = typename Block::T;
  static constexpr bool kFloat16 = std::is_same_v<T, __half>, kConverts = kFloat16 || Block::kColumns <= 16;
  using Operand = std::conditional_t<kConverts, __half, T>;
  static constexpr float kScale = !kConverts ? kSpreadScale<T> : kFloat16 ? 1.0F : 16.0F;  // of products

  // Two adjacent weights of a word, its first or its second pair.
  __device__ static unsigned Weights(unsigned word, int pair) {
    if constexpr (!kConverts) return SpreadPair<T>(word, pair);
    unsigned result;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.rn.f16x2.e4m3x2 %0, low; }"
        : "=r"(result)
        : "r"(pair == 0 ? word : word >> 16));
    return result;
  }

  // Two adjacent elements of a row.
  __device__ static unsigned Rows(unsigned pair) {
    if constexpr (!kConverts || kFloat16) return pair;
    unsigned scaled, result;
    asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(scaled) : "r"(pair), "r"(0x3D803D80u));  // 1/16
    asm("cvt.rn.f16x2.f32 %0, %1, %2;"
        : "=r"(result)
        : "f"(__uint_as_float(scaled & 0xFFFF0000u)), "f"(__uint_as_float(scaled << 16)));
    return result;
  }
};

#endif

}  // namespace llavamini::kernels::stream
