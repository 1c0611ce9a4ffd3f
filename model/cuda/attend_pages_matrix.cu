// Decode attention with the matrix units, for heads of 64 or 128 elements of 16 bits. A block takes one row, one key-value head and
// some of the sequence's splits; its warps are in attend_pages_warp.cuh.
// The code is kept short on purpose: a block runs most of it once or twice, so fetching it costs more than what it does.
#include "model/cuda/attend_pages_warp.cuh"
#include "model/cuda/attention_splits.cuh"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace matrix {
namespace {

constexpr int kBlocksPerSm = 24 / kWarps;  // what shared memory holds; 80 registers a thread

// Joins what the warps have of a split into `out`, or into the workspace when there are more splits.
template <typename T, int kQueries, int kDim>
__device__ void JoinWarps(SharedBlock<kQueries, kDim>& shared, int splits, int split, const StoredParts<kQueries>& stored, T* out) {
#pragma unroll 1
  for (int at = threadIdx.x * 4; at < kQueries * kDim; at += kThreads * 4) {
    const int query = at / kDim, element = at % kDim;
    float largest = -INFINITY, total = 0, value[4] = {};
#pragma unroll
    for (int i = 0; i < kWarps; ++i) largest = fmaxf(largest, shared.softmax[i][query].largest);
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
      const Softmax softmax = shared.softmax[i][query];
      const float scale = Exp(softmax.largest - largest);  // 0 of a warp that had no page
      const float4 part = *reinterpret_cast<const float4*>(shared.Result(i, query) + element);
      total += scale * softmax.sum;
      value[0] += scale * part.x;
      value[1] += scale * part.y;
      value[2] += scale * part.z;
      value[3] += scale * part.w;
    }
    if (splits == 1) {
      const float inverse = __fdividef(1.0f, total);
      *reinterpret_cast<uint2*>(out + at) = make_uint2(Pack<T>(value[0] * inverse, value[1] * inverse),
                                                       Pack<T>(value[2] * inverse, value[3] * inverse));
    } else {
      float* own = stored.At(split, query);
#pragma unroll
      for (int e = 0; e < 4; ++e) own[2 + element + e] = value[e];
      if (element == 0) own[0] = largest, own[1] = total;
    }
  }
}

template <typename T, int kQueries, int kDim, bool kAppend>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm) AttendKernel(const __grid_constant__ AttentionProblem p) {
  __shared__ SharedBlock<kQueries, kDim> shared;
  LetNextKernelStart();
  // With the newest row appended here, all others were written by earlier steps: the first of them are copied while the kernel before
  // still runs.
  if constexpr (!kAppend) AwaitEarlierKernels();
  const int place = p.paged.places[blockIdx.y], length = p.paged.positions[blockIdx.y] + 1;
  const int pages_per_split = RowsPerSplit(length) / kPageTokens, splits = SplitsOf(length);
  if (place < 0 || static_cast<int>(blockIdx.z) >= splits) {
    if constexpr (kAppend) AwaitEarlierKernels();  // every thread does, so that the next kernel may rely on it
    OutputOf<T, kQueries, kThreads>(p, place < 0);
    return;
  }
  const Row<T, kQueries, kDim> row{p, shared};
  Warp<T, kQueries, kDim, kAppend> own(p, shared, place, length);
  T* out = OutputOf<T, kQueries, kThreads>(p, /*padding=*/false);
  const StoredParts<kQueries> stored(p, place, blockIdx.x);

  const int page_count = (length + kPageTokens - 1) / kPageTokens;
  int done = 0;
  bool waiting = true;  // for the kernel before, and the queries
#pragma unroll 1
  for (int split = blockIdx.z; split < splits; split += gridDim.z, ++done) {
    if (done > 0) __syncthreads();  // the last split's results are read
    own.Begin(split * pages_per_split, min(page_count, (split + 1) * pages_per_split));
#pragma unroll 1
    for (int i = 0; waiting || own.at < own.end; ++i, own.at += kWarps) {
      int page = 0;
      if (own.at < own.end) page = own.Copy(i);
      if (waiting) {
        if constexpr (kAppend) {
          row.LoadTurned(length - 1);
        } else {
          row.LoadQueries();
        }
        __syncthreads();
        waiting = false;
      }
      if (own.at < own.end) own.Add(page);
    }
    own.Write();
    __syncthreads();
    JoinWarps<T, kQueries, kDim>(shared, splits, split, stored, out);
  }
  if (splits > 1) JoinSplits<T, kQueries, kThreads>(splits, done, stored, out);
}

template <typename T, int kQueries, int kDim, bool kAppend>
void Launch(const AttentionProblem& p, cudaStream_t stream) {
  const auto kernel = AttendKernel<T, kQueries, kDim, kAppend>;
  // Else an SM may be set up for fewer blocks than fit.
  static const cudaError_t preferred =
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  static_cast<void>(preferred);
  const dim3 grid(p.heads.key_value_heads, static_cast<unsigned>(p.heads.rows),  // a row's heads lie side by side: they run together
                  SplitBlocks(p.heads.rows, p.heads.key_value_heads, p.paged.most_pages));
  LaunchDependent(kernel, grid, kThreads, 0, stream, p);
}

template <typename T, int kQueries>
void LaunchDim(const AttentionProblem& p, bool append, cudaStream_t stream) {
  if (p.heads.dim == 128) {
    append ? Launch<T, kQueries, 128, true>(p, stream) : Launch<T, kQueries, 128, false>(p, stream);
  } else {
    append ? Launch<T, kQueries, 64, true>(p, stream) : Launch<T, kQueries, 64, false>(p, stream);
  }
}

template <typename T>
void LaunchQueries(const AttentionProblem& p, bool append, cudaStream_t stream) {
  WithQueries(p.heads, [&](auto queries) { LaunchDim<T, decltype(queries)::value>(p, append, stream); });
}

}  // namespace
}  // namespace matrix

bool CanAttendByMatrix(Element type, int dim) { return type != Element::kFloat32 && (dim == 64 || dim == 128); }

void AttendPagesByMatrix(Element type, const AttentionProblem& problem, bool append, cudaStream_t stream) {
  type == Element::kFloat16 ? matrix::LaunchQueries<__half>(problem, append, stream)
                            : matrix::LaunchQueries<__nv_bfloat16>(problem, append, stream);
}

}  // namespace llavamini::kernels
