// The way into CLIP and out of the visual part of pre-fusion: pixels to patches, keys and values to where they are kept.
#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace {

constexpr int kThreads = 256;

// One block per patch. In float32 step by step as ATen rounds, so that both are equal bit for bit.
template <typename T>
__global__ void __launch_bounds__(kThreads) PatchesKernel(PicturePatches p, T* __restrict__ out) {
  LetNextKernelStart();
  AwaitEarlierKernels();
  const int area = p.patch * p.patch;
  const int64_t picture = blockIdx.x / (p.grid * p.grid);
  const int place = blockIdx.x % (p.grid * p.grid), y = place / p.grid * p.patch, x = place % p.grid * p.patch;
  const uint8_t* corner = p.pictures + ((picture * p.side + y) * p.side + x) * 3;
  T* target = out + blockIdx.x * static_cast<int64_t>(p.width);
  for (int i = threadIdx.x; i < area; i += kThreads) {
    const uint8_t* pixel = corner + (i / p.patch * p.side + i % p.patch) * 3;
#pragma unroll
    for (int channel = 0; channel < 3; ++channel) {
      const float value = __fmul_rn(static_cast<float>(pixel[channel]), static_cast<float>(1.0 / 255.0));
      target[channel * area + i] = FromFloat<T>(__fdiv_rn(__fsub_rn(value, p.mean[channel]), p.deviation[channel]));
    }
  }
  for (int i = 3 * area + threadIdx.x; i < p.width; i += kThreads) target[i] = FromFloat<T>(0);
}

// One block per row; a thread turns eight pairs (i, i + dim/2) of a head, or copies eight elements of a value, after the other.
template <typename T>
__global__ void __launch_bounds__(kThreads) RotateKeepKernel(HeadRows h, const int32_t* positions, KeptRows kept) {
  LetNextKernelStart();
  AwaitEarlierKernels();
  const int row = blockIdx.x, width = h.key_value_heads * h.dim;
  const int half = h.dim / 2, turned = h.query_heads + h.key_value_heads;
  const int chunks = half / 8, turns = turned * chunks, copies = width / 8;
  const int64_t angle = static_cast<int64_t>(positions[row]) * half;
  const int64_t target = row / kept.rows * kept.stride + static_cast<int64_t>(row % kept.rows) * width;
  T* qkv = static_cast<T*>(h.qkv) + static_cast<int64_t>(row) * (turned + h.key_value_heads) * h.dim;
  T* keys = static_cast<T*>(kept.keys) + target;
  T* values = static_cast<T*>(kept.values) + target;
  for (int i = threadIdx.x; i < turns + copies; i += kThreads) {
    if (i >= turns) {
      const int at = (i - turns) * 8;
      Eight<T>::Load(qkv + turned * h.dim + at).Store(values + at);
      continue;
    }
    const int head = i / chunks, pair = i % chunks * 8;
    T* low = qkv + head * h.dim + pair;
    Eight<T> a = Eight<T>::Load(low), b = Eight<T>::Load(low + half);
    const Eight<float> c = Eight<float>::Load(h.cos + angle + pair), s = Eight<float>::Load(h.sin + angle + pair);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float first = a.Get(j), second = b.Get(j);
      a.Set(j, Turned(first, second, c.Get(j), -s.Get(j)));
      b.Set(j, Turned(second, first, c.Get(j), s.Get(j)));
    }
    a.Store(low);
    b.Store(low + half);
    if (head < h.query_heads) continue;
    T* key = keys + (head - h.query_heads) * h.dim + pair;
    a.Store(key);
    b.Store(key + half);
  }
}

}  // namespace

void Patches(Element type, const PicturePatches& problem, void* out, cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    const auto blocks = static_cast<unsigned>(problem.count * problem.grid * problem.grid);
    LaunchDependent(PatchesKernel<T>, dim3(blocks), kThreads, 0, stream, problem, static_cast<T*>(out));
  });
}

bool CanRotateKeep(int64_t dim) { return dim % 16 == 0; }

void RotateKeep(Element type, const HeadRows& heads, const int32_t* positions, const KeptRows& kept, cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    LaunchDependent(RotateKeepKernel<T>, dim3(static_cast<unsigned>(heads.rows)), kThreads, 0, stream, heads, positions, kept);
  });
}

}  // namespace llavamini::kernels
