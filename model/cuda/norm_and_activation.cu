#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace {

constexpr int kThreads = 256;

// The sum over a block, the same in every thread.
__device__ inline float BlockSum(float x) {
  __shared__ float partial[kThreads / 32];
  x = WarpSum(x);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  float total = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) total += partial[warp];
  return total;
}

// One block per row. Step s of thread t holds elements 8 (kThreads s + t) … + 7; what would lie behind the row's end are its last elements,
// which count for nothing. kSteps 0: rows of any width, element by element.
template <typename T, int kSteps>
__global__ void __launch_bounds__(kThreads)
    RmsNormKernel(const T* __restrict__ x, const T* __restrict__ weight, T* __restrict__ out, int width, float eps) {
  LetNextKernelStart();
  const T* row = x + blockIdx.x * static_cast<int64_t>(width);
  T* target = out + blockIdx.x * static_cast<int64_t>(width);
  float sum = 0;
  if constexpr (kSteps > 0) {
    const auto first = [&](int step) { return (step * kThreads + static_cast<int>(threadIdx.x)) * 8; };
    const auto at = [&](int step) { return min(first(step), width - 8); };
    Eight<T> factors[kSteps], values[kSteps];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) factors[step] = Eight<T>::LoadConstant(weight + at(step));
    AwaitEarlierKernels();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) values[step] = Eight<T>::Load(row + at(step));
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      float part = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) part += values[step].Get(j) * values[step].Get(j);
      sum += first(step) < width ? part : 0.0f;
    }
    const float scale = rsqrtf(BlockSum(sum) / width + eps);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int j = 0; j < 8; ++j) values[step].Set(j, values[step].Get(j) * scale * factors[step].Get(j));
      if (first(step) < width) values[step].Store(target + at(step));
    }
  } else {
    AwaitEarlierKernels();
    for (int i = threadIdx.x; i < width; i += kThreads) sum += ToFloat(row[i]) * ToFloat(row[i]);
    const float scale = rsqrtf(BlockSum(sum) / width + eps);
    for (int i = threadIdx.x; i < width; i += kThreads) {
      target[i] = FromFloat<T>(ToFloat(row[i]) * scale * ToFloat(weight[i]));
    }
  }
}

__device__ inline float Silu(float x) { return x / (1.0f + __expf(-x)); }

// kStep adjacent elements per thread; width and count are multiples of it.
template <typename T, int kStep>
__global__ void __launch_bounds__(kThreads)
    SiluMultiplyKernel(const T* __restrict__ gate_up, T* __restrict__ out, int64_t count, int width) {
  LetNextKernelStart();
  AwaitEarlierKernels();
  const int64_t i = (blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x) * kStep;
  if (i >= count) return;
  const T* gate = gate_up + i / width * 2 * width + i % width;
  if constexpr (kStep == 8) {
    Eight<T> gates = Eight<T>::Load(gate);
    const Eight<T> ups = Eight<T>::Load(gate + width);
#pragma unroll
    for (int j = 0; j < 8; ++j) gates.Set(j, Silu(gates.Get(j)) * ups.Get(j));
    gates.Store(out + i);
  } else {
    out[i] = FromFloat<T>(Silu(ToFloat(gate[0])) * ToFloat(gate[width]));
  }
}

template <bool kQuick>
__device__ inline float GeluOf(float x) {
  return kQuick ? x / (1.0f + __expf(-1.702f * x)) : ErfGelu(x);
}

template <typename T, int kStep, bool kQuick>
__global__ void __launch_bounds__(kThreads) GeluKernel(T* __restrict__ x, int64_t count) {
  LetNextKernelStart();
  AwaitEarlierKernels();
  const int64_t i = (blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x) * kStep;
  if (i >= count) return;
  if constexpr (kStep == 8) {
    Eight<T> values = Eight<T>::Load(x + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) values.Set(j, GeluOf<kQuick>(values.Get(j)));
    values.Store(x + i);
  } else {
    x[i] = FromFloat<T>(GeluOf<kQuick>(ToFloat(x[i])));
  }
}

unsigned Blocks(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

template <bool kQuick>
void LaunchGelu(Element type, void* x, int64_t count, cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    const int step = count % 8 == 0 ? 8 : 1;
    const auto kernel = step == 8 ? GeluKernel<T, 8, kQuick> : GeluKernel<T, 1, kQuick>;
    LaunchDependent(kernel, dim3(Blocks(count / step)), kThreads, 0, stream, static_cast<T*>(x), count);
  });
}

}  // namespace

void RmsNorm(Element type, const void* x, const void* weight, void* out, int64_t rows, int width, float eps,
             cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    constexpr int kStepWidth = kThreads * 8;
    const int steps = width % 8 == 0 ? (width + kStepWidth - 1) / kStepWidth : 0;
    const auto kernel = steps == 0 || steps > 4 ? RmsNormKernel<T, 0>
                        : steps == 1            ? RmsNormKernel<T, 1>
                        : steps == 2            ? RmsNormKernel<T, 2>
                                                : RmsNormKernel<T, 4>;
    LaunchDependent(kernel, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, static_cast<const T*>(x),
                    static_cast<const T*>(weight), static_cast<T*>(out), width, eps);
  });
}

void SiluMultiply(Element type, const void* gate_up, void* out, int64_t rows, int width, cudaStream_t stream) {
  const int64_t count = rows * width;
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    const int step = width % 8 == 0 ? 8 : 1;
    const auto kernel = step == 8 ? SiluMultiplyKernel<T, 8> : SiluMultiplyKernel<T, 1>;
    LaunchDependent(kernel, dim3(Blocks(count / step)), kThreads, 0, stream, static_cast<const T*>(gate_up),
                    static_cast<T*>(out), count, width);
  });
}

void QuickGelu(Element type, void* x, int64_t count, cudaStream_t stream) { LaunchGelu<true>(type, x, count, stream); }

void Gelu(Element type, void* x, int64_t count, cudaStream_t stream) { LaunchGelu<false>(type, x, count, stream); }

}  // namespace llavamini::kernels
