// Element types inside kernels: stored as float, half or bfloat16, computed in float.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "model/cuda/kernels.h"

namespace llavamini::kernels {

__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(__half x) { return __half2float(x); }
__device__ inline float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ T FromFloat(float x);
template <>
__device__ inline float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ inline __half FromFloat<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 FromFloat<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// One element of a pair that is turned: a · cos - b · sin (sin negative) or b · cos + a · sin. Rounded alike in every kernel.
__device__ inline float Turned(float own, float other, float cos, float sin) {
  return __fmaf_rn(own, cos, __fmul_rn(other, sin));
}

// x · Φ(x).
__device__ inline float ErfGelu(float x) { return x * 0.5f * (1.0f + erff(x * 0.70710678118654752f)); }

__device__ inline float WarpSum(float x) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

// Eight adjacent elements, read and written 16 bytes at a time; the address is a multiple of 16.
template <typename T>
struct Eight {
  uint4 raw[sizeof(T) / 2];

  __device__ static Eight Load(const T* address) {
    Eight value;
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) value.raw[i] = reinterpret_cast<const uint4*>(address)[i];
    return value;
  }
  // Of what no kernel writes while this one runs: such loads need not stay behind earlier stores.
  __device__ static Eight LoadConstant(const T* address) {
    Eight value;
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) value.raw[i] = __ldg(reinterpret_cast<const uint4*>(address) + i);
    return value;
  }
  __device__ void Store(T* address) const {
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) reinterpret_cast<uint4*>(address)[i] = raw[i];
  }
  __device__ float Get(int i) const { return ToFloat(reinterpret_cast<const T*>(raw)[i]); }
  __device__ void Set(int i, float x) { reinterpret_cast<T*>(raw)[i] = FromFloat<T>(x); }
};

// Calls function with a value of the C++ type that `type` names.
template <typename Function>
void WithElement(Element type, Function function) {
  switch (type) {
    case Element::kFloat32:
      return function(float{});
    case Element::kFloat16:
      return function(__half{});
    case Element::kBfloat16:
      return function(__nv_bfloat16{});
  }
}

}  // namespace llavamini::kernels
