// What the kernels of decode attention share: how a sequence is cut into splits, and how partial results are joined. A split is a
// number of rows that follows from the sequence's length alone, and partial results are joined in their order by whichever block is
// done last: a row's result does not depend on the other rows of the step.
#pragma once

#include <cmath>
#include <type_traits>

#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"
#include "model/model.h"

namespace llavamini::kernels {

struct AttentionProblem {
  HeadRows heads;
  PagedRows paged;
  float scale;
  float* workspace;
  void* out;
};

// What a split, or a warp, has of one query: the largest logit and the sum of weights relative to it (Milakov and Gimelshein 2018);
// beside it stands the weighted sum of values.
struct Softmax {
  float largest, sum;
};

// Rows of a split of a sequence of this length: whole pages.
__device__ inline int RowsPerSplit(int length) {
  const int even = (length + kMostSplits - 1) / kMostSplits;
  return even <= kRowsPerSplit ? kRowsPerSplit : (even + kPageTokens - 1) / kPageTokens * kPageTokens;
}

// Splits of a sequence of this length, without a division by RowsPerSplit(): where that is more than kRowsPerSplit, it is more than
// length / kMostSplits by less than a page and a row, which is too little for one split less.
__device__ inline int SplitsOf(int length) {
  static_assert(kRowsPerSplit >= kMostSplits * kPageTokens, "else it may be one less");
  return length <= kMostSplits * kRowsPerSplit ? (length + kRowsPerSplit - 1) / kRowsPerSplit : kMostSplits;
}

// Partial results of a sequence's splits, per place and key-value head: a counter, then (largest, sum, value[dim]) of each split and
// query.
template <int kQueries>
struct StoredParts {
  float* own;
  int dim;

  __device__ StoredParts(const AttentionProblem& p, int place, int head) : dim(p.heads.dim) {
    const int64_t stride = static_cast<int64_t>(kMostSplits) * kQueries * (dim + 2) + 4;
    own = p.workspace + (static_cast<int64_t>(place) * p.heads.key_value_heads + head) * stride;
  }
  __device__ int* Counter() const { return reinterpret_cast<int*>(own); }
  __device__ float* At(int split, int g) const { return own + 4 + (split * kQueries + g) * (dim + 2); }
  __device__ Softmax Of(int split, int g) const { return {__ldcg(At(split, g)), __ldcg(At(split, g) + 1)}; }
  __device__ float Value(int split, int g, int element) const { return __ldcg(At(split, g) + 2 + element); }
};

// Called by every block that has done `done` of the splits: the last of them joins all.
template <typename T, int kQueries, int kThreads>
__device__ void JoinSplits(int splits, int done, const StoredParts<kQueries>& stored, T* out) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(stored.Counter(), done) + done == splits;
    if (last) *stored.Counter() = 0;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  for (int at = threadIdx.x; at < kQueries * stored.dim; at += kThreads) {
    const int g = at / stored.dim, element = at % stored.dim;
    float largest = -INFINITY, total = 0, weighted = 0;
    for (int i = 0; i < splits; ++i) largest = fmaxf(largest, stored.Of(i, g).largest);
    for (int i = 0; i < splits; ++i) {
      const Softmax softmax = stored.Of(i, g);
      const float scale = __expf(softmax.largest - largest);
      total += scale * softmax.sum;
      weighted += scale * stored.Value(i, g, element);
    }
    out[at] = FromFloat<T>(weighted / total);
  }
}

// The row's output; zeros for a padding row, which one block writes, unless it is skipped.
template <typename T, int kQueries, int kThreads>
__device__ T* OutputOf(const AttentionProblem& p, bool padding) {
  T* out = static_cast<T*>(p.out) +
           (static_cast<int64_t>(blockIdx.y) * p.heads.query_heads + blockIdx.x * kQueries) * p.heads.dim;
  if (padding && !p.paged.skip_padding && blockIdx.z == 0) {
    for (int i = threadIdx.x; i < kQueries * p.heads.dim; i += kThreads) out[i] = FromFloat<T>(0);
  }
  return out;
}

// Blocks per row and head: enough to fill the GPU when there are few rows, for sequences that have so many splits.
inline unsigned SplitBlocks(int64_t rows, int key_value_heads, int most_pages) {
  const int64_t longest = static_cast<int64_t>(most_pages) * kPageTokens;
  const int64_t splits = (longest + kRowsPerSplit - 1) / kRowsPerSplit;
  const int64_t filling = 512 / (rows * key_value_heads);
  const int64_t blocks = filling < 2 ? 2 : filling;
  const int64_t most = splits < kMostSplits ? splits : kMostSplits;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

// Calls function with the number of queries of a key-value head as a type.
template <typename Function>
void WithQueries(const HeadRows& heads, Function function) {
  switch (heads.query_heads / heads.key_value_heads) {
    case 1:
      return function(std::integral_constant<int, 1>{});
    case 2:
      return function(std::integral_constant<int, 2>{});
    case 4:
      return function(std::integral_constant<int, 4>{});
    default:
      return function(std::integral_constant<int, 8>{});
  }
}

// With the matrix units: heads of 64 or 128 elements of 16 bits.
bool CanAttendByMatrix(Element type, int dim);
void AttendPagesByMatrix(Element type, const AttentionProblem& problem, bool append, cudaStream_t stream);

}  // namespace llavamini::kernels
