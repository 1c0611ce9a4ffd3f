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

__device__ inline float WarpSum(float x) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

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
