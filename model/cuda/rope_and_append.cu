#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"

namespace llavamini::kernels {
namespace {

constexpr int kThreads = 256;

// One thread per pair (i, i + dim/2) of a head.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    RotateKernel(const T* __restrict__ x, int64_t stride, const float* __restrict__ cos, const float* __restrict__ sin,
                 T* __restrict__ out, int64_t count, int heads, int dim) {
  const int64_t thread = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (thread >= count) return;
  const int half = dim / 2;
  const int pair = static_cast<int>(thread % half);
  const int head = static_cast<int>(thread / half % heads);
  const int64_t row = thread / half / heads;
  const T* source = x + row * stride + head * dim;
  T* target = out + (row * heads + head) * dim;
  const float c = cos[row * half + pair], s = sin[row * half + pair];
  const float a = ToFloat(source[pair]), b = ToFloat(source[pair + half]);
  target[pair] = FromFloat<T>(a * c - b * s);
  target[pair + half] = FromFloat<T>(b * c + a * s);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    AppendKernel(const T* __restrict__ k, int64_t k_stride, const T* __restrict__ v, int64_t v_stride,
                 const int64_t* __restrict__ slots, T* __restrict__ k_cache, T* __restrict__ v_cache, int width) {
  const int64_t row = blockIdx.x;
  const int64_t target = slots[row] * width;
  for (int i = threadIdx.x; i < width; i += kThreads) {
    k_cache[target + i] = k[row * k_stride + i];
    v_cache[target + i] = v[row * v_stride + i];
  }
}

}  // namespace

void Rotate(Element type, const void* x, int64_t stride, const float* cos, const float* sin, void* out, int64_t rows,
            int heads, int dim, cudaStream_t stream) {
  const int64_t count = rows * heads * (dim / 2);
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    RotateKernel<T><<<static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
        static_cast<const T*>(x), stride, cos, sin, static_cast<T*>(out), count, heads, dim);
  });
}

void AppendToPages(Element type, const void* k, int64_t k_stride, const void* v, int64_t v_stride, const int64_t* slots,
                   void* k_cache, void* v_cache, int64_t rows, int width, cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    AppendKernel<T><<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(
        static_cast<const T*>(k), k_stride, static_cast<const T*>(v), v_stride, slots, static_cast<T*>(k_cache),
        static_cast<T*>(v_cache), width);
  });
}

}  // namespace llavamini::kernels
