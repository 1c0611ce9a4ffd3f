// Sixteen floats at once, for the row loops of this folder. A function marked
// LLAVAMINI_VECTOR_CLONES is compiled for AVX-512, AVX2 and the base of x86-64, and the loader
// chooses; what it calls must be inlined, to be compiled for the same.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#define LLAVAMINI_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LLAVAMINI_VECTOR_CLONES
#endif
#define LLAVAMINI_INLINE [[gnu::always_inline]] inline

namespace llavamini::ops::cpu {

inline constexpr int64_t kLanes = 16;

using Floats __attribute__((vector_size(64))) = float;
using Ints __attribute__((vector_size(64))) = int32_t;
using Bits __attribute__((vector_size(64))) = uint32_t;
using HalfBits __attribute__((vector_size(32))) = uint16_t;

LLAVAMINI_INLINE Floats Splat(float x) { return x - Floats{}; }

LLAVAMINI_INLINE Floats Load(const float* from) {
  Floats x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}

LLAVAMINI_INLINE void Store(const Floats& x, float* to) { std::memcpy(to, &x, sizeof(x)); }

LLAVAMINI_INLINE Floats Load(const c10::BFloat16* from) {
  HalfBits half;
  std::memcpy(&half, from, sizeof(half));
  return reinterpret_cast<Floats>(__builtin_convertvector(half, Bits) << 16);
}

// Rounds to the nearest, ties to even; NaN stays NaN.
LLAVAMINI_INLINE void Store(const Floats& x, c10::BFloat16* to) {
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits kept = x == x ? rounded : rounded * 0 + 0x7fc0;
  const HalfBits half = __builtin_convertvector(kept, HalfBits);
  std::memcpy(to, &half, sizeof(half));
}

LLAVAMINI_INLINE float Sum(const Floats& x) {
  float halves[kLanes];
  Store(x, halves);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) halves[i] += halves[i + width];
  }
  return halves[0];
}

LLAVAMINI_INLINE Floats Larger(const Floats& a, const Floats& b) { return a > b ? a : b; }

// eˣ to within two units in the last place: 2ⁿ · eʳ with |r| ≤ ln 2 / 2, the latter as a
// polynomial. Below -87 it is 0, above 88 it stays at e⁸⁸.
LLAVAMINI_INLINE Floats Exp(const Floats& of) {
  constexpr float kRound = 12582912;  // 1.5 · 2²³: adding it rounds to an integer
  const Floats x = of > Splat(88) ? Splat(88) : of;
  const Floats shifted = x * 1.44269504f + kRound;
  const Floats n = shifted - kRound;
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1;
  const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
  return x < Splat(-87) ? Floats{} : p * reinterpret_cast<Floats>(power);
}

// Replaces x[i] by eˣ⁽ⁱ⁾ over the largest's, for i < width, a multiple of kLanes; returns their
// sum.
LLAVAMINI_INLINE float Exponentials(float* x, int64_t width) {
  Floats most = Load(x);
  for (int64_t i = kLanes; i < width; i += kLanes) most = Larger(most, Load(x + i));
  float largest = most[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) {
    largest = most[lane] > largest ? most[lane] : largest;
  }
  Floats sums{};
  for (int64_t i = 0; i < width; i += kLanes) {
    const Floats weight = Exp(Load(x + i) - largest);
    sums += weight;
    Store(weight, x + i);
  }
  return Sum(sums);
}

LLAVAMINI_INLINE Floats Sigmoid(const Floats& x) { return 1 / (1 + Exp(-x)); }

}  // namespace llavamini::ops::cpu
