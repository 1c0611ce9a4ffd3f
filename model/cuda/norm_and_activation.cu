#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"

namespace llavamini::kernels {
namespace {

constexpr int kThreads = 256;

// One block per row; x is read twice, the second time from L1/L2.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    RmsNormKernel(const T* __restrict__ x, const T* __restrict__ weight, T* __restrict__ out, int width, float eps) {
  const T* row = x + blockIdx.x * static_cast<int64_t>(width);
  float sum = 0;
  for (int i = threadIdx.x; i < width; i += kThreads) {
    const float value = ToFloat(row[i]);
    sum += value * value;
  }
  __shared__ float partial[kThreads / 32];
  sum = WarpSum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) total += partial[warp];
  const float scale = rsqrtf(total / width + eps);
  T* target = out + blockIdx.x * static_cast<int64_t>(width);
  for (int i = threadIdx.x; i < width; i += kThreads) {
    target[i] = FromFloat<T>(ToFloat(row[i]) * scale * ToFloat(weight[i]));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    SiluMultiplyKernel(const T* __restrict__ gate_up, T* __restrict__ out, int64_t count, int width) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (i >= count) return;
  const int64_t row = i / width, column = i % width;
  const float gate = ToFloat(gate_up[row * 2 * width + column]);
  const float up = ToFloat(gate_up[row * 2 * width + width + column]);
  out[i] = FromFloat<T>(gate / (1.0f + expf(-gate)) * up);
}

}  // namespace

void RmsNorm(Element type, const void* x, const void* weight, void* out, int64_t rows, int width, float eps,
             cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    RmsNormKernel<T><<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(
        static_cast<const T*>(x), static_cast<const T*>(weight), static_cast<T*>(out), width, eps);
  });
}

void SiluMultiply(Element type, const void* gate_up, void* out, int64_t rows, int width, cudaStream_t stream) {
  const int64_t count = rows * width;
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    SiluMultiplyKernel<T><<<static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
        static_cast<const T*>(gate_up), static_cast<T*>(out), count, width);
  });
}

}  // namespace llavamini::kernels
