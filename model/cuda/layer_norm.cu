// LayerNorm of rows that fit into a warp's registers: read once, mean and variance in float32 in two passes over the registers.
#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace {

constexpr int kWarps = 4;           // rows of a block
constexpr int kStepWidth = 32 * 8;  // elements that a warp takes at a time

// Where a row of the input lies, and what is added to it.
template <typename T>
struct Source {
  const T* row;
  const T* added;  // or null
};

template <typename T>
__device__ Source<T> SourceOf(const NormRows& rows, int row, int width) {
  const int run = row / rows.run, own = row % rows.run;
  return {static_cast<const T*>(rows.x) + run * rows.run_stride + own * static_cast<int64_t>(width), nullptr};
}

template <typename T>
__device__ Source<T> SourceOf(const PictureRows& rows, int row, int width) {
  const int picture = row / rows.run, own = row % rows.run;
  const T* added = static_cast<const T*>(rows.positions) + static_cast<int64_t>(own) * width;
  if (own == 0) return {static_cast<const T*>(rows.first), added};
  return {static_cast<const T*>(rows.patches) + (row - picture - 1) * static_cast<int64_t>(width), added};
}

// One warp per row; step s of lane l holds elements 256 s + 8 l … + 7. Steps behind the row's end read its last elements and count for
// nothing: a branch would make each load wait for the one before it.
template <typename T, int kSteps, typename Rows>
__global__ void __launch_bounds__(kWarps * 32) LayerNormKernel(Rows rows, NormWeights norm, T* __restrict__ out, int count) {
  LetNextKernelStart();
  const int width = norm.width, first = threadIdx.x % 32 * 8;
  const auto within = [&](int step) { return first + step * kStepWidth < width; };
  const auto at = [&](int step) { return min(first + step * kStepWidth, width - 8); };
  // What does not depend on earlier kernels.
  Eight<T> weights[kSteps], biases[kSteps];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    weights[step] = Eight<T>::LoadConstant(static_cast<const T*>(norm.weight) + at(step));
    biases[step] = Eight<T>::LoadConstant(static_cast<const T*>(norm.bias) + at(step));
  }
  AwaitEarlierKernels();
  const int row = blockIdx.x * kWarps + threadIdx.x / 32;
  if (row >= count) return;
  const Source<T> source = SourceOf<T>(rows, row, width);
  Eight<T> values[kSteps];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) values[step] = Eight<T>::Load(source.row + at(step));
  if (source.added != nullptr) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const Eight<T> added = Eight<T>::Load(source.added + at(step));
#pragma unroll
      for (int j = 0; j < 8; ++j) values[step].Set(j, values[step].Get(j) + added.Get(j));
    }
  }
  const auto sum = [&](auto term) {
    float total = 0;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      float part = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) part += term(values[step].Get(j));
      total += within(step) ? part : 0.0f;
    }
    return WarpSum(total);
  };
  const float mean = sum([](float x) { return x; }) / width;
  const float variance = sum([mean](float x) { return (x - mean) * (x - mean); }) / width;
  const float scale = rsqrtf(variance + norm.eps);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int j = 0; j < 8; ++j) values[step].Set(j, (values[step].Get(j) - mean) * scale * weights[step].Get(j) + biases[step].Get(j));
    if (within(step)) values[step].Store(out + row * static_cast<int64_t>(width) + at(step));
  }
}

template <typename Rows>
void Launch(Element type, const Rows& rows, const NormWeights& norm, void* out, int64_t count, cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    const int steps = (norm.width + kStepWidth - 1) / kStepWidth;
    const auto kernel = steps <= 1   ? LayerNormKernel<T, 1, Rows>
                        : steps <= 4 ? LayerNormKernel<T, 4, Rows>
                        : steps <= 8 ? LayerNormKernel<T, 8, Rows>
                                     : LayerNormKernel<T, kMostNormWidth / kStepWidth, Rows>;
    LaunchDependent(kernel, dim3(static_cast<unsigned>((count + kWarps - 1) / kWarps)), kWarps * 32, 0, stream, rows, norm,
                    static_cast<T*>(out), static_cast<int>(count));
  });
}

}  // namespace

bool CanLayerNorm(int64_t width) { return width % 8 == 0 && width <= kMostNormWidth; }

void LayerNorm(Element type, const NormRows& rows, const NormWeights& norm, void* out, int64_t count, cudaStream_t stream) {
  Launch(type, rows, norm, out, count, stream);
}

void LayerNormPictures(Element type, const PictureRows& rows, const NormWeights& norm, void* out, int64_t count,
                       cudaStream_t stream) {
  Launch(type, rows, norm, out, count, stream);
}

}  // namespace llavamini::kernels
