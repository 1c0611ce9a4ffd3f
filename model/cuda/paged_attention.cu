// Decode attention over pages: one block per (sequence, key-value head); its query heads share each key and value that is read. The
// block's warps take every kWarps-th row and keep a running softmax (Milakov and Gimelshein 2018) of their own; the warps' results
// are joined at the end.
#include <cmath>

#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"
#include "model/model.h"

namespace llavamini::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kLargestDim = 256;

// A running softmax over some rows, for one query: the largest logit, the sum of weights relative to it, and the weighted sum of values.
template <int kPerLane>
struct Partial {
  float largest = -INFINITY;
  float sum = 0;
  float value[kPerLane] = {};

  __device__ void Add(float logit, const float* row) {
    const float next = fmaxf(largest, logit);
    const float shrink = __expf(largest - next), weight = __expf(logit - next);
    sum = sum * shrink + weight;
    for (int i = 0; i < kPerLane; ++i) value[i] = value[i] * shrink + weight * row[i];
    largest = next;
  }
};

// Lane l holds elements l, l + 32, … of a row.
template <int kPerLane, typename T>
__device__ void LoadRow(const T* source, int dim, int lane, float* row) {
  for (int i = 0; i < kPerLane; ++i) {
    row[i] = lane + 32 * i < dim ? ToFloat(source[lane + 32 * i]) : 0.0f;
  }
}

template <typename T, int kGroups, int kPerLane>
__global__ void __launch_bounds__(32 * kWarps) AttendPagesKernel(PagedAttention p) {
  const int sequence = blockIdx.x, head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int length = p.lengths[sequence];
  const T* q = static_cast<const T*>(p.q) + sequence * p.q_stride + head * kGroups * p.dim;
  float query[kGroups][kPerLane];
  Partial<kPerLane> partial[kGroups];
  for (int g = 0; g < kGroups; ++g) LoadRow<kPerLane>(q + g * p.dim, p.dim, lane, query[g]);

  for (int row = warp; row < length; row += kWarps) {
    const int64_t page = p.page_table[sequence * p.most_pages + row / kPageTokens];
    const int64_t at = ((page * kPageTokens + row % kPageTokens) * p.key_value_heads + head) * p.dim;
    float key[kPerLane], value[kPerLane];
    LoadRow<kPerLane>(static_cast<const T*>(p.k_cache) + at, p.dim, lane, key);
    LoadRow<kPerLane>(static_cast<const T*>(p.v_cache) + at, p.dim, lane, value);
    for (int g = 0; g < kGroups; ++g) {
      float product = 0;
      for (int i = 0; i < kPerLane; ++i) product += query[g][i] * key[i];
      partial[g].Add(WarpSum(product) * p.scale, value);
    }
  }

  __shared__ float largest[kWarps][kGroups], sum[kWarps][kGroups], values[kWarps][kGroups][32 * kPerLane];
  for (int g = 0; g < kGroups; ++g) {
    if (lane == 0) {
      largest[warp][g] = partial[g].largest;
      sum[warp][g] = partial[g].sum;
    }
    for (int i = 0; i < kPerLane; ++i) values[warp][g][lane + 32 * i] = partial[g].value[i];
  }
  __syncthreads();
  T* out = static_cast<T*>(p.out) + (static_cast<int64_t>(sequence) * p.query_heads + head * kGroups) * p.dim;
  for (int at = threadIdx.x; at < kGroups * p.dim; at += 32 * kWarps) {
    const int g = at / p.dim, element = at % p.dim;
    float best = largest[0][g];
    for (int w = 1; w < kWarps; ++w) best = fmaxf(best, largest[w][g]);
    float total = 0, weighted = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float scale = __expf(largest[w][g] - best);
      total += scale * sum[w][g];
      weighted += scale * values[w][g][element];
    }
    out[at] = FromFloat<T>(weighted / total);
  }
}

template <typename T, int kGroups>
void Launch(const PagedAttention& p, cudaStream_t stream) {
  const dim3 grid(p.sequences, p.key_value_heads);
  if (p.dim <= 32) {
    AttendPagesKernel<T, kGroups, 1><<<grid, 32 * kWarps, 0, stream>>>(p);
  } else if (p.dim <= 64) {
    AttendPagesKernel<T, kGroups, 2><<<grid, 32 * kWarps, 0, stream>>>(p);
  } else if (p.dim <= 128) {
    AttendPagesKernel<T, kGroups, 4><<<grid, 32 * kWarps, 0, stream>>>(p);
  } else {
    AttendPagesKernel<T, kGroups, 8><<<grid, 32 * kWarps, 0, stream>>>(p);
  }
}

}  // namespace

bool CanAttendPages(int query_heads, int key_value_heads, int dim) {
  const int groups = query_heads / key_value_heads;
  return dim <= kLargestDim && (groups == 1 || groups == 2 || groups == 4 || groups == 8);
}

void AttendPages(Element type, const PagedAttention& problem, cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    switch (problem.query_heads / problem.key_value_heads) {
      case 1:
        return Launch<T, 1>(problem, stream);
      case 2:
        return Launch<T, 2>(problem, stream);
      case 4:
        return Launch<T, 4>(problem, stream);
      default:
        return Launch<T, 8>(problem, stream);
    }
  });
}

}  // namespace llavamini::kernels
