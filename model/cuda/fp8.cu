#include "model/cuda/fp8.h"

#include <cfloat>
#include <cuda_fp8.h>

#include "model/cuda/element.cuh"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace {

constexpr int kThreads = 256;

// The larger of two numbers of which NaN counts as the largest.
__device__ inline float Larger(float a, float b) { return a > b || isnan(a) ? a : b; }

// Eight elements of a row, times the norm's weight where there is one.
template <typename T, bool kNorm>
__device__ inline void LoadWeighted(const T* row, const T* norm_weight, int at, float (&out)[8]) {
  const Eight<T> eight = Eight<T>::Load(row + at);
#pragma unroll
  for (int j = 0; j < 8; ++j) out[j] = eight.Get(j);
  if constexpr (kNorm) {
    const Eight<T> weight = Eight<T>::Load(norm_weight + at);
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] *= weight.Get(j);
  }
}

// Of a row.
struct Extent {
  float largest;  // |weighted element|
  float squares;  // the sum of them, of the elements without the weight
};

// All threads of the block get its row's.
template <typename T, bool kNorm>
__device__ Extent ExtentOfRow(const T* row, const T* norm_weight, int width) {
  Extent extent = {0, 0};
  for (int i = threadIdx.x * 8; i < width; i += kThreads * 8) {
    float weighted[8];
    LoadWeighted<T, kNorm>(row, norm_weight, i, weighted);
#pragma unroll
    for (int j = 0; j < 8; ++j) extent.largest = Larger(fabsf(weighted[j]), extent.largest);
    if constexpr (kNorm) {
      const Eight<T> eight = Eight<T>::Load(row + i);
#pragma unroll
      for (int j = 0; j < 8; ++j) extent.squares += eight.Get(j) * eight.Get(j);
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    extent.largest = Larger(__shfl_xor_sync(0xffffffffu, extent.largest, offset), extent.largest);
  }
  if constexpr (kNorm) extent.squares = WarpSum(extent.squares);
  __shared__ Extent of_warp[kThreads / 32];
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = extent;
  __syncthreads();
  Extent all = {0, 0};
  for (int warp = 0; warp < kThreads / 32; ++warp) {
    all.largest = Larger(of_warp[warp].largest, all.largest);
    all.squares += of_warp[warp].squares;
  }
  return all;
}

// One block per row; x is read twice, the second time from L1/L2.
template <typename T, bool kNorm>
__global__ void __launch_bounds__(kThreads) QuantizeRowsKernel(QuantizedRows p) {
  LetNextKernelStart();
  AwaitEarlierKernels();
  const int64_t index = blockIdx.x;
  const T* row = static_cast<const T*>(p.x) + index * p.x_stride;
  const T* norm_weight = static_cast<const T*>(p.norm_weight);
  const Extent extent = ExtentOfRow<T, kNorm>(row, norm_weight, p.width);
  const float factor = kNorm ? rsqrtf(extent.squares / p.width + p.eps) : 1.0f;
  const float exact = extent.largest * factor / kLargestE4m3;
  const float scale = exact < FLT_MIN ? FLT_MIN : exact;
  uint8_t* values = p.values + index * p.width;
  for (int i = threadIdx.x * 8; i < p.width; i += kThreads * 8) {
    float weighted[8];
    LoadWeighted<T, kNorm>(row, norm_weight, i, weighted);
    alignas(8) __nv_fp8x2_storage_t pairs[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 pair = make_float2(weighted[2 * j] * factor / scale, weighted[2 * j + 1] * factor / scale);
      pairs[j] = __nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3);
    }
    *reinterpret_cast<uint2*>(values + i) = *reinterpret_cast<const uint2*>(pairs);
  }
  if (threadIdx.x == 0) p.scales[index] = scale;
}

}  // namespace

bool CanQuantizeRows(const QuantizedRows& problem) { return problem.width % 8 == 0 && problem.x_stride % 8 == 0; }

void QuantizeRows(Element type, const QuantizedRows& problem, cudaStream_t stream) {
  if (problem.rows == 0) return;
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    const auto kernel = problem.norm_weight != nullptr ? QuantizeRowsKernel<T, true> : QuantizeRowsKernel<T, false>;
    LaunchDependent(kernel, dim3(static_cast<unsigned>(problem.rows)), kThreads, 0, stream, problem);
  });
}

}  // namespace llavamini::kernels
