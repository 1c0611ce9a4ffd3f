// Decode attention over pages for any number of elements. A block takes one row, one key-value head (whose query heads share each key
// and value that is read) and some of the sequence's splits; its lane groups take every kGroups-th key and keep a running softmax of
// their own, joined at the end.
#include "model/cuda/attention_splits.cuh"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kLargestDim = 256;
constexpr int kAhead = 2;  // keys and values loaded before the first is used, per lane group

// Partial results of a block's warps.
template <int kQueries, int kParts, int kDim>
struct SharedParts {
  Softmax softmax[kParts][kQueries];
  float value[kParts][kQueries][kDim];
};

template <typename T, int kQueries, int kLanes>
struct AttendBlock {
  static constexpr int kGroups = kThreads / kLanes;  // lane groups, each a key at a time

  const AttentionProblem& p;
  const int row, head, lane, group;
  const int place, position, length;
  const int32_t* pages;
  unsigned mask;  // this lane group's lanes
  float query[kQueries][8];
  Softmax softmax[kQueries];
  float value[kQueries][8];

  __device__ explicit AttendBlock(const AttentionProblem& problem)
      : p(problem), row(blockIdx.y), head(blockIdx.x), lane(threadIdx.x % kLanes), group(threadIdx.x / kLanes),
        place(p.paged.places[row]), position(p.paged.positions[row]), length(position + 1),
        pages(p.paged.page_table + static_cast<int64_t>(place < 0 ? 0 : place) * p.paged.most_pages) {
    const int first = threadIdx.x % 32 / kLanes * kLanes;
    mask = kLanes == 32 ? 0xffffffffu : ((1u << (kLanes % 32)) - 1u) << first;
  }

  __device__ const T* Heads(int number) const {
    const int heads = p.heads.query_heads + 2 * p.heads.key_value_heads;
    return static_cast<const T*>(p.heads.qkv) + (static_cast<int64_t>(row) * heads + number) * p.heads.dim + lane * 8;
  }
  __device__ bool Holds() const { return lane * 8 < p.heads.dim; }

  // Eight elements of a head, turned to the row's position: a head's first half turns with its second, half the lanes away.
  __device__ void Turn(const Eight<T>& own, Eight<T>& turned) const {
    const int half = p.heads.dim / 2, at = lane * 8 % half;
    const float* cos = p.heads.cos + static_cast<int64_t>(position) * half + at;
    const float* sin = p.heads.sin + static_cast<int64_t>(position) * half + at;
    const float sign = lane * 8 < half ? -1.0f : 1.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float other = __shfl_xor_sync(mask, own.Get(i), kLanes / 2);
      turned.Set(i, Turned(own.Get(i), other, cos[i], sign * sin[i]));
    }
  }

  template <bool kAppend>
  __device__ void LoadQueries() {
#pragma unroll
    for (int g = 0; g < kQueries; ++g) {
      Eight<T> own = {};
      if (Holds()) own = Eight<T>::Load(Heads(head * kQueries + g));
      if constexpr (kAppend) {
        Eight<T> turned;
        Turn(own, turned);
        own = turned;
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) query[g][i] = own.Get(i) * p.scale;
    }
  }

  __device__ void Clear() {
#pragma unroll
    for (int g = 0; g < kQueries; ++g) {
      softmax[g] = {-INFINITY, 0};
#pragma unroll
      for (int i = 0; i < 8; ++i) value[g][i] = 0;
    }
  }

  __device__ int64_t Slot(int at) const {
    const int64_t page = static_cast<int64_t>(pages[at / kPageTokens]) * p.heads.key_value_heads + head;
    return (page * kPageTokens + at % kPageTokens) * p.heads.dim + lane * 8;
  }

  __device__ void Add(const Eight<T>& k, const Eight<T>& v) {
#pragma unroll
    for (int g = 0; g < kQueries; ++g) {
      float logit = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) logit += query[g][i] * k.Get(i);
#pragma unroll
      for (int offset = kLanes / 2; offset > 0; offset /= 2) logit += __shfl_xor_sync(mask, logit, offset);
      const float next = fmaxf(softmax[g].largest, logit);
      const float shrink = __expf(softmax[g].largest - next), weight = __expf(logit - next);
      softmax[g] = {next, softmax[g].sum * shrink + weight};
#pragma unroll
      for (int i = 0; i < 8; ++i) value[g][i] = value[g][i] * shrink + weight * v.Get(i);
    }
  }

  // Rows first … end - 1, all of them in the pages.
  __device__ void AddRows(int first, int end) {
    for (int at = first + group; at < end; at += kAhead * kGroups) {
      Eight<T> k[kAhead] = {}, v[kAhead] = {};
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (at + i * kGroups >= end || !Holds()) continue;
        k[i] = Eight<T>::Load(static_cast<const T*>(p.paged.k_cache) + Slot(at + i * kGroups));
        v[i] = Eight<T>::Load(static_cast<const T*>(p.paged.v_cache) + Slot(at + i * kGroups));
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (at + i * kGroups < end) Add(k[i], v[i]);
      }
    }
  }

  // The newest row: turned, written to its slot, and attended to by the lane group whose turn it is, as if it lay in the pages already.
  __device__ void AppendNewest(int first) {
    if (group != (position - first) % kGroups) return;
    const Eight<T> own = Eight<T>::Load(Heads(p.heads.query_heads + head));
    const Eight<T> v = Eight<T>::Load(Heads(p.heads.query_heads + p.heads.key_value_heads + head));
    Eight<T> k;
    Turn(own, k);
    k.Store(static_cast<T*>(p.paged.k_cache) + Slot(position));
    v.Store(static_cast<T*>(p.paged.v_cache) + Slot(position));
    Add(k, v);
  }

  // The lane groups of a warp become one.
  __device__ void JoinLaneGroups() {
#pragma unroll
    for (int g = 0; g < kQueries; ++g) {
      __syncwarp();
#pragma unroll
      for (int offset = kLanes; offset < 32; offset *= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, softmax[g].largest, offset);
        const float other_sum = __shfl_xor_sync(0xffffffffu, softmax[g].sum, offset);
        const float next = fmaxf(softmax[g].largest, other);
        const float mine = softmax[g].sum == 0 ? 0 : __expf(softmax[g].largest - next);
        const float theirs = other_sum == 0 ? 0 : __expf(other - next);
        softmax[g] = {next, softmax[g].sum * mine + other_sum * theirs};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float theirs_value = __shfl_xor_sync(0xffffffffu, value[g][i], offset);
          value[g][i] = value[g][i] * mine + theirs_value * theirs;
        }
      }
    }
  }

  template <typename Parts>
  __device__ void Write(Parts& parts) const {
    const int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 >= kLanes) return;
#pragma unroll
    for (int g = 0; g < kQueries; ++g) {
      if (lane == 0) parts.softmax[warp][g] = softmax[g];
#pragma unroll
      for (int i = 0; i < 8; ++i) parts.value[warp][g][lane * 8 + i] = value[g][i];
    }
  }
};

// Joins a block's partial results of one split, known to all its threads, into `out`, or into the workspace when there are more splits.
template <typename T, int kQueries, int kThreads, int kParts, int kDim>
__device__ void JoinParts(const SharedParts<kQueries, kParts, kDim>& parts, int splits, int split,
                          const StoredParts<kQueries>& stored, T* out) {
#pragma unroll 1
  for (int g = 0; g < kQueries; ++g) {
    float largest = -INFINITY, total = 0, scale[kParts];
#pragma unroll
    for (int i = 0; i < kParts; ++i) largest = fmaxf(largest, parts.softmax[i][g].largest);
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const Softmax softmax = parts.softmax[i][g];
      scale[i] = softmax.sum == 0 ? 0 : __expf(softmax.largest - largest);
      total += scale[i] * softmax.sum;
    }
    const float inverse = 1.0f / total;
    for (int element = threadIdx.x; element < stored.dim; element += kThreads) {
      float weighted = 0;
#pragma unroll
      for (int i = 0; i < kParts; ++i) weighted += scale[i] * parts.value[i][g][element];
      if (splits == 1) {
        out[g * stored.dim + element] = FromFloat<T>(weighted * inverse);
      } else {
        stored.At(split, g)[2 + element] = weighted;
      }
    }
    if (splits > 1 && threadIdx.x == 0) {
      stored.At(split, g)[0] = largest;
      stored.At(split, g)[1] = total;
    }
  }
}

template <typename T, int kQueries, int kLanes, bool kAppend>
__global__ void __launch_bounds__(kThreads) AttendPagesKernel(AttentionProblem p) {
  constexpr int kWarps = kThreads / 32;
  __shared__ SharedParts<kQueries, kWarps, kLanes * 8> parts;
  LetNextKernelStart();
  AwaitEarlierKernels();
  AttendBlock<T, kQueries, kLanes> block(p);
  T* out = OutputOf<T, kQueries, kThreads>(p, block.place < 0);
  const int rows = RowsPerSplit(block.length), splits = SplitsOf(block.length);
  if (block.place < 0 || static_cast<int>(blockIdx.z) >= splits) return;
  block.template LoadQueries<kAppend>();
  const StoredParts<kQueries> stored(p, block.place, block.head);
  int done = 0;
  for (int split = blockIdx.z; split < splits; split += gridDim.z, ++done) {
    const int first = split * rows, end = min(first + rows, block.length);
    const bool newest = kAppend && end == block.length;
    block.Clear();
    block.AddRows(first, newest ? end - 1 : end);
    if (newest) block.AppendNewest(first);
    block.JoinLaneGroups();
    __syncthreads();  // the last split's parts are read
    block.Write(parts);
    __syncthreads();
    JoinParts<T, kQueries, kThreads, kWarps>(parts, splits, split, stored, out);
  }
  if (splits > 1) JoinSplits<T, kQueries, kThreads>(splits, done, stored, out);
}

template <typename T, int kQueries, int kLanes>
void Launch(const AttentionProblem& p, bool append, cudaStream_t stream) {
  const dim3 grid(p.heads.key_value_heads, static_cast<unsigned>(p.heads.rows),
                  SplitBlocks(p.heads.rows, p.heads.key_value_heads, p.paged.most_pages));
  const auto kernel = append ? AttendPagesKernel<T, kQueries, kLanes, true> : AttendPagesKernel<T, kQueries, kLanes, false>;
  LaunchDependent(kernel, grid, kThreads, 0, stream, p);
}

template <typename T, int kQueries>
void LaunchLanes(const AttentionProblem& p, bool append, cudaStream_t stream) {
  if (p.heads.dim <= 32) return Launch<T, kQueries, 4>(p, append, stream);
  if (p.heads.dim <= 64) return Launch<T, kQueries, 8>(p, append, stream);
  if (p.heads.dim <= 128) return Launch<T, kQueries, 16>(p, append, stream);
  if constexpr (kQueries <= 4) Launch<T, kQueries, 32>(p, append, stream);  // more would not fit into shared memory
}

}  // namespace

bool CanAttendPages(int query_heads, int key_value_heads, int dim, bool append) {
  const int queries = query_heads / key_value_heads;
  const bool power = queries == 1 || queries == 2 || queries == 4 || queries == 8;
  const bool fills = dim == 32 || dim == 64 || dim == 128 || dim == 256;  // the lanes, so that halves are lanes apart
  return power && dim % 8 == 0 && dim <= (queries == 8 ? 128 : kLargestDim) && (fills || !append);
}

int64_t AttendPagesWorkspace(int places, int query_heads, int key_value_heads, int dim) {
  const int64_t queries = query_heads / key_value_heads;
  return static_cast<int64_t>(places) * key_value_heads * (kMostSplits * queries * (dim + 2) + 4);
}

void AttendPages(Element type, const HeadRows& heads, const PagedRows& paged, bool append, float scale, float* workspace,
                 void* out, cudaStream_t stream) {
  const AttentionProblem p{heads, paged, scale, workspace, out};
  if (CanAttendByMatrix(type, heads.dim)) return AttendPagesByMatrix(type, p, append, stream);
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    WithQueries(heads, [&](auto queries) { LaunchLanes<T, decltype(queries)::value>(p, append, stream); });
  });
}

}  // namespace llavamini::kernels
