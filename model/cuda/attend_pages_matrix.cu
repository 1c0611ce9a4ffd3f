// Decode attention with the matrix units, for heads of 64 or 128 elements of 16 bits. A block takes one row, one key-value head and
// some of the sequence's splits; a warp takes a page (16 keys) at a time: logits are queries · keysᵀ (the queries of the head as the
// matrix's rows), the result is weights · values. Which element of a head is which K of a product does not matter as long as both
// sides agree, so a lane's share of a row is whole 16-byte pieces: lane (g, t) = (lane / 4, lane % 4) holds pieces t, t + 4, … of
// query g and of keys g and g + 8, and pieces g, g + 8 of the values of keys 2t, 2t + 1, 2t + 8, 2t + 9.
#include <type_traits>

#include "model/cuda/attention_splits.cuh"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace {

constexpr int kParts = 4;  // part i of a split's pages: i, i + kParts, …; each is added up on its own, by whichever warp
constexpr int64_t kManyBlocks = 512;
constexpr float kLog2E = 1.44269504F;

// Rows 0 … 7 of a 16 × 8 product, the other rows of `a` being zero.
template <typename T>
__device__ inline void MultiplyAdd(float (&c)[2], unsigned a0, unsigned a2, unsigned b0, unsigned b1) {
  float unused[2];
  const float zero = 0;
  const unsigned none = 0;
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%12};"
                 : "=f"(c[0]), "=f"(c[1]), "=f"(unused[0]), "=f"(unused[1])
                 : "r"(a0), "r"(none), "r"(a2), "r"(none), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(zero));
  } else {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%12};"
                 : "=f"(c[0]), "=f"(c[1]), "=f"(unused[0]), "=f"(unused[1])
                 : "r"(a0), "r"(none), "r"(a2), "r"(none), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(zero));
  }
}

template <typename T>
__device__ inline unsigned Pack(float low, float high) {
  const T pair[2] = {FromFloat<T>(low), FromFloat<T>(high)};
  return *reinterpret_cast<const unsigned*>(pair);
}

// A page's keys and values as one warp holds them, and what it has made of them. The code is kept short on purpose: a block runs most of
// it once or twice, so fetching instructions costs more than what they do.
template <typename T, int kQueries, int kDim>
struct Warp {
  static constexpr int kPieces = kDim / 32;  // of a row, per lane: 16 bytes each
  static constexpr int kHalves = kDim / 64;  // of the values' pieces

  const AttentionProblem& p;
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int position;
  uint4 query[kPieces];
  uint4 key[2][kPieces];    // keys g and g + 8 of the page
  uint4 value[4][kHalves];  // keys 2t, 2t + 1, 2t + 8, 2t + 9
  float largest, sum;       // of query g, the sum over this lane's keys only
  float result[kHalves][8][2];

  __device__ Warp(const AttentionProblem& problem, int newest)
      : p(problem), position(newest) {}

  __device__ const T* Head(int number) const {
    const int heads = p.heads.query_heads + 2 * p.heads.key_value_heads;
    return static_cast<const T*>(p.heads.qkv) + (static_cast<int64_t>(blockIdx.y) * heads + number) * kDim;
  }
  __device__ T* PageOf(void* cache, int64_t page) const {
    return static_cast<T*>(cache) + (page * p.heads.key_value_heads + blockIdx.x) * kPageTokens * kDim;
  }
  // Which key value[j] belongs to.
  __device__ int ValueKey(int j) const { return 2 * t + j % 2 + 8 * (j / 2); }

  // Turns a row's pieces t, t + 4, …: piece i turns with piece i + kPieces / 2.
  __device__ void Turn(uint4 (&pieces)[kPieces]) const {
    constexpr int kHalf = kPieces / 2;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      T* low = reinterpret_cast<T*>(&pieces[i]);
      T* high = reinterpret_cast<T*>(&pieces[i + kHalf]);
      const int64_t at = static_cast<int64_t>(position) * (kDim / 2) + (t + 4 * i) * 8;
      const Eight<float> cos = Eight<float>::Load(p.heads.cos + at), sin = Eight<float>::Load(p.heads.sin + at);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const float a = ToFloat(low[e]), b = ToFloat(high[e]);
        low[e] = FromFloat<T>(Turned(a, b, cos.Get(e), -sin.Get(e)));
        high[e] = FromFloat<T>(Turned(b, a, cos.Get(e), sin.Get(e)));
      }
    }
  }

  // A page's keys and values, of which the first `rows` count: weights of the others are zero, and so must be their values, since what
  // an earlier sequence left there may be anything.
  __device__ void LoadPage(int64_t page, int rows) {
    const T* keys = PageOf(p.paged.k_cache, page) + g * kDim + t * 8;
    const T* values = PageOf(p.paged.v_cache, page) + 2 * t * kDim + g * 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) key[half][i] = *reinterpret_cast<const uint4*>(keys + 8 * half * kDim + 32 * i);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        value[j][h] = *reinterpret_cast<const uint4*>(values + (j % 2 + 8 * (j / 2)) * kDim + 64 * h);
      }
    }
    if (rows == kPageTokens) return;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        if (ValueKey(j) >= rows) value[j][h] = make_uint4(0, 0, 0, 0);
      }
    }
  }

  // The queries, turned if the newest row is appended. Then that row, by the warp whose loaded page it belongs to: turned, put in its
  // place among the loaded keys and values, and written to its slot.
  template <bool kAppend>
  __device__ void LoadNew(bool has_newest, int64_t page) {
    const int newest = position % kPageTokens;
    const bool key_lane = g == newest % 8;
#pragma unroll 1
    for (int pass = 0; pass < (kAppend && has_newest ? 2 : 1); ++pass) {
      const int number = pass == 0 ? blockIdx.x * kQueries + g : p.heads.query_heads + blockIdx.x;
      const bool wanted = pass == 0 ? g < kQueries : key_lane;
      uint4 pieces[kPieces];
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        pieces[i] = wanted ? *reinterpret_cast<const uint4*>(Head(number) + (t + 4 * i) * 8) : make_uint4(0, 0, 0, 0);
      }
      if constexpr (kAppend) Turn(pieces);
      T* slot = PageOf(p.paged.k_cache, page) + newest * kDim + t * 8;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        if (pass == 0) {
          query[i] = pieces[i];
        } else if (key_lane) {
          key[0][i] = newest < 8 ? pieces[i] : key[0][i];
          key[1][i] = newest < 8 ? key[1][i] : pieces[i];
          *reinterpret_cast<uint4*>(slot + 32 * i) = pieces[i];
        }
      }
    }
    if (!kAppend || !has_newest) return;
    const T* own = Head(p.heads.query_heads + p.heads.key_value_heads + blockIdx.x) + g * 8;
    T* slot = PageOf(p.paged.v_cache, page) + newest * kDim + g * 8;
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      const uint4 piece = *reinterpret_cast<const uint4*>(own + 64 * h);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (ValueKey(j) == newest) value[j][h] = piece;
      }
      if (t == 0) *reinterpret_cast<uint4*>(slot + 64 * h) = piece;
    }
  }

  __device__ void Clear() {
    largest = -INFINITY;
    sum = 0;
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
#pragma unroll
      for (int e = 0; e < 8; ++e) result[h][e][0] = result[h][e][1] = 0;
    }
  }

  // Attends to the loaded page, of which `rows` are seen.
  __device__ void Add(int rows) {
    float logits[2][2] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        MultiplyAdd<T>(logits[half], query[i].x, query[i].y, key[half][i].x, key[half][i].y);
        MultiplyAdd<T>(logits[half], query[i].z, query[i].w, key[half][i].z, key[half][i].w);
      }
    }
    float next = largest;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const bool seen = 2 * t + j + 8 * half < rows;
        logits[half][j] = seen ? logits[half][j] * p.scale : -INFINITY;
        next = fmaxf(next, logits[half][j]);
      }
    }
    next = fmaxf(next, __shfl_xor_sync(0xffffffffu, next, 1));
    next = fmaxf(next, __shfl_xor_sync(0xffffffffu, next, 2));
    if (__any_sync(0xffffffffu, next > largest)) {
      const float shrink = exp2f((largest - next) * kLog2E);
      sum *= shrink;
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          result[h][e][0] *= shrink;
          result[h][e][1] *= shrink;
        }
      }
      largest = next;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        logits[half][j] = exp2f((logits[half][j] - next) * kLog2E);
        sum += logits[half][j];
      }
    }
    const unsigned low = Pack<T>(logits[0][0], logits[0][1]), high = Pack<T>(logits[1][0], logits[1][1]);
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      const unsigned* v0 = reinterpret_cast<const unsigned*>(&value[0][h]);
      const unsigned* v1 = reinterpret_cast<const unsigned*>(&value[1][h]);
      const unsigned* v2 = reinterpret_cast<const unsigned*>(&value[2][h]);
      const unsigned* v3 = reinterpret_cast<const unsigned*>(&value[3][h]);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const unsigned which = e % 2 == 0 ? 0x5410 : 0x7632;
        MultiplyAdd<T>(result[h][e], low, high, __byte_perm(v0[e / 2], v1[e / 2], which),
                       __byte_perm(v2[e / 2], v3[e / 2], which));
      }
    }
  }

  template <typename Parts>
  __device__ void Write(int part, Parts& parts) {
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (g >= kQueries) return;
    if (t == 0) parts.softmax[part][g] = {largest, sum};
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        parts.value[part][g][(2 * t + 8 * h) * 8 + e] = result[h][e][0];
        parts.value[part][g][(2 * t + 1 + 8 * h) * 8 + e] = result[h][e][1];
      }
    }
  }
};

template <typename T, int kQueries, int kDim, bool kAppend, int kWarps>
__global__ void __launch_bounds__(32 * kWarps, 12 / kWarps) AttendKernel(AttentionProblem p) {
  constexpr int kThreads = 32 * kWarps;
  __shared__ SharedParts<kQueries, kParts, kDim> parts;
  LetNextKernelStart();
  // With the newest row appended here, all others were written by earlier steps: the first of them are read while the kernel before
  // still runs.
  if constexpr (!kAppend) AwaitEarlierKernels();
  const int place = p.paged.places[blockIdx.y], warp = threadIdx.x / 32;
  Warp<T, kQueries, kDim> own(p, p.paged.positions[blockIdx.y]);
  const int32_t* pages = p.paged.page_table + static_cast<int64_t>(place < 0 ? 0 : place) * p.paged.most_pages;
  const int length = own.position + 1, rows = RowsPerSplit(length), splits = (length + rows - 1) / rows;
  const int page_count = (length + kPageTokens - 1) / kPageTokens, pages_per_split = rows / kPageTokens;
  if (place < 0 || static_cast<int>(blockIdx.z) >= splits) {
    if constexpr (kAppend) AwaitEarlierKernels();  // every thread does, so that the next kernel may rely on it
    OutputOf<T, kQueries, kThreads>(p, place < 0);
    return;
  }
  T* out = OutputOf<T, kQueries, kThreads>(p, /*padding=*/false);
  const StoredParts<kQueries> stored(p, place, blockIdx.x);

  bool waiting = true;  // for the kernel before
  int done = 0;
  for (int split = blockIdx.z; split < splits; split += gridDim.z, ++done) {
    const int end = min(page_count, (split + 1) * pages_per_split);
    if (done > 0) __syncthreads();  // the last split's parts are read
#pragma unroll 1
    for (int part = warp; part < kParts; part += kWarps) {
      own.Clear();
#pragma unroll 1
      for (int at = split * pages_per_split + part; at < end; at += kParts) {
        const int64_t page = pages[at];
        const bool newest = kAppend && at + 1 == page_count;
        const int seen = min(kPageTokens, length - at * kPageTokens);
        own.LoadPage(page, newest ? seen - 1 : seen);
        if (kAppend && waiting) AwaitEarlierKernels();
        if (waiting || newest) own.template LoadNew<kAppend>(newest, page);
        waiting = false;
        own.Add(seen);
      }
      own.Write(part, parts);
    }
    if (kAppend && waiting) AwaitEarlierKernels();  // a warp without a page
    waiting = false;
    __syncthreads();
    JoinParts<T, kQueries, kThreads, kParts>(parts, splits, split, stored, out);
  }
  if (splits > 1) JoinSplits<T, kQueries, kThreads>(splits, done, stored, out);
}

template <typename T, int kQueries, int kDim>
void Launch(const AttentionProblem& p, bool append, cudaStream_t stream) {
  const dim3 grid(p.heads.key_value_heads, static_cast<unsigned>(p.heads.rows),  // a row's heads lie side by side: they run together
                  SplitBlocks(p.heads.rows, p.heads.key_value_heads, p.paged.most_pages));
  // With enough blocks for all SMs, fewer and longer warps have less to set up.
  const bool many = p.heads.rows * p.heads.key_value_heads >= kManyBlocks;
  const auto kernel = append ? (many ? AttendKernel<T, kQueries, kDim, true, 2> : AttendKernel<T, kQueries, kDim, true, 4>)
                             : (many ? AttendKernel<T, kQueries, kDim, false, 2> : AttendKernel<T, kQueries, kDim, false, 4>);
  LaunchDependent(kernel, grid, many ? 64 : 128, 0, stream, p);
}

template <typename T, int kQueries>
void LaunchDim(const AttentionProblem& p, bool append, cudaStream_t stream) {
  p.heads.dim == 128 ? Launch<T, kQueries, 128>(p, append, stream) : Launch<T, kQueries, 64>(p, append, stream);
}

template <typename T>
void LaunchQueries(const AttentionProblem& p, bool append, cudaStream_t stream) {
  switch (p.heads.query_heads / p.heads.key_value_heads) {
    case 1:
      return LaunchDim<T, 1>(p, append, stream);
    case 2:
      return LaunchDim<T, 2>(p, append, stream);
    case 4:
      return LaunchDim<T, 4>(p, append, stream);
    default:
      return LaunchDim<T, 8>(p, append, stream);
  }
}

}  // namespace

bool CanAttendByMatrix(Element type, int dim) { return type != Element::kFloat32 && (dim == 64 || dim == 128); }

void AttendPagesByMatrix(Element type, const AttentionProblem& problem, bool append, cudaStream_t stream) {
  type == Element::kFloat16 ? LaunchQueries<__half>(problem, append, stream)
                            : LaunchQueries<__nv_bfloat16>(problem, append, stream);
}

}  // namespace llavamini::kernels
