// From products to what leaves the kernel: a piece, 32 rows of x by 64 of the weights, by one warp.
#pragma once

#include "model/cuda/activated/tile.cuh"
#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"

namespace llavamini::kernels::activated {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// x / (1 + exp(-scale x)), with the approximations of two units in the last place that the device has for both.
__device__ inline float TimesSigmoid(float x, float scale) {
  constexpr float kLog2OfE = 1.4426950408889634f;
  float power, inverse;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * (-kLog2OfE * scale)));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
  return x * inverse;
}

template <Activation kActivation>
__device__ inline float Activated(float x) {
  if constexpr (kActivation == Activation::kGelu) return ErfGelu(x);
  return TimesSigmoid(x, kActivation == Activation::kQuickGelu ? 1.702f : 1.0f);
}

// Rows `row` … of x, `rows` of them at most, by the weights' unit `unit`. A row of the piece has eight parts of 16 bytes, part i at place
// i ^ (row % 8); of a gate and its up they are eight gates, eight ups, and so on.
template <typename T, Activation kActivation>
__device__ void ActivatePiece(const Problem& p, const unsigned char* piece, int unit, int row, int rows) {
  constexpr bool kGated = kActivation == Activation::kSiluGate;
  constexpr int kOwners = kGated ? 4 : 8, kAtOnce = 32 / kOwners;  // lanes of a row, and rows that they take at a time
  const int lane = threadIdx.x % 32, owner = lane % kOwners, first = lane / kOwners, column = (unit * kOwners + owner) * 8;
  const int count = column < p.width ? min(rows, p.rows - row) : 0;
  const auto load = [&](int at, int part) {
    return Eight<T>::Load(reinterpret_cast<const T*>(piece + at * kBoxBytes + ((part ^ (at % 8)) << 4)));
  };
  Eight<T> bias = {};
  if (!kGated && p.bias != nullptr && column < p.width) bias = Eight<T>::LoadConstant(static_cast<const T*>(p.bias) + column);
  T* y = static_cast<T*>(p.y) + static_cast<int64_t>(row + first) * p.width + column;
#pragma unroll 2
  for (int at = first; at < kPieceRows; at += kAtOnce) {
    Eight<T> v;
    if constexpr (kGated) {
      v = load(at, 2 * owner);
      const Eight<T> up = load(at, 2 * owner + 1);
#pragma unroll
      for (int j = 0; j < 8; ++j) v.Set(j, Activated<kActivation>(v.Get(j)) * up.Get(j));
    } else {
      v = load(at, owner);
#pragma unroll
      for (int j = 0; j < 8; ++j) v.Set(j, Activated<kActivation>(v.Get(j) + bias.Get(j)));
    }
    if (at < count) v.Store(y);
    y += static_cast<int64_t>(kAtOnce) * p.width;
  }
}

#endif

}  // namespace llavamini::kernels::activated
