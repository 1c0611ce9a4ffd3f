#include "model/cuda/sampling.h"

#include <algorithm>

#include "model/cuda/element.cuh"
#include "model/cuda/launch.cuh"

namespace llavamini::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kMostBlocks = 1024;  // that the rows are split into: enough to fill a GPU
constexpr int kMostShares = 32;    // that one row is split into
constexpr int kBinsPerThread = LimitSearch::kBins / kThreads;

using Wide = unsigned long long;  // what atomics and shuffles take as 64 bits

// Low bits of an ordered key in which no two different values of the type differ.
template <typename T>
constexpr int kIdleBits = 0;
template <>
constexpr int kIdleBits<__half> = 13;
template <>
constexpr int kIdleBits<__nv_bfloat16> = 16;

// Where the blocks of one row meet.
struct alignas(16) Meeting {
  Wide best;
  unsigned arrived;
};

// Larger for the better score; of equal scores, for the lower id. Never 0.
__device__ Wide Packed(float score, uint32_t id) { return Wide{OrderedKey(score)} << 32 | ~id; }
__device__ int32_t IdOf(Wide packed) { return static_cast<int32_t>(~static_cast<uint32_t>(packed)); }

// One row of logits, read in chunks of 16 bytes where every row is a number of them, else of 4 logits; NaN as minus
// infinity.
template <typename T, bool kWide>
struct Row {
  using Element = T;
  static constexpr int kChunk = kWide ? 16 / sizeof(T) : 4;
  using Values = float[kChunk];
  const T* logits;
  int vocab;

  // Calls function(values, id of the first) for the chunks begin, begin + step, ..; past the row's end the values are
  // minus infinity.
  template <int kUnroll, typename Function>
  __device__ void ForEachChunk(int begin, int step, Function function) const {
    const int chunks = (vocab + kChunk - 1) / kChunk;
#pragma unroll kUnroll
    for (int chunk = begin; chunk < chunks; chunk += step) {
      Values values;
      Load(chunk * kChunk, values);
      function(values, chunk * kChunk);
    }
  }

  __device__ void Load(int first, Values& values) const {
    alignas(16) T raw[kChunk];
    if constexpr (kWide) *reinterpret_cast<uint4*>(raw) = *reinterpret_cast<const uint4*>(logits + first);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if constexpr (!kWide) raw[i] = first + i < vocab ? logits[first + i] : FromFloat<T>(-INFINITY);
      const float value = ToFloat(raw[i]);
      values[i] = isnan(value) ? -INFINITY : value;
    }
  }
};

// The largest of the block's; all threads get it.
__device__ Wide BlockLargest(Wide mine) {
  __shared__ Wide of_warp[kWarps];
  for (int offset = 16; offset > 0; offset /= 2) mine = max(mine, __shfl_xor_sync(0xffffffffu, mine, offset));
  __syncthreads();  // the last call's have been read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) mine = max(mine, of_warp[warp]);
  return mine;
}

// The sum over the block's lower threads, and over all.
struct RunningSum {
  Wide before, total;
};
__device__ RunningSum BlockRunningSum(Wide mine) {
  __shared__ Wide of_warp[kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Wide sum = mine;
  for (int offset = 1; offset < 32; offset *= 2) {
    const Wide other = __shfl_up_sync(0xffffffffu, sum, offset);
    if (lane >= offset) sum += other;
  }
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  RunningSum result = {sum - mine, 0};
  for (int i = 0; i < kWarps; ++i) {
    if (i < warp) result.before += of_warp[i];
    result.total += of_warp[i];
  }
  __syncthreads();
  return result;
}

// 64-bit sums from 32-bit atomics, which shared memory adds natively.
struct Histogram {
  unsigned low[LimitSearch::kBins], high[LimitSearch::kBins];

  __device__ void Clear() {
    for (int bin = threadIdx.x; bin < static_cast<int>(LimitSearch::kBins); bin += kThreads) low[bin] = high[bin] = 0;
  }
  __device__ void Add(uint32_t bin, uint32_t weight) {
    const uint32_t before = atomicAdd(&low[bin], weight);
    if (before + weight < before) atomicAdd(&high[bin], 1);  // the carry
  }
  __device__ Wide Sum(uint32_t bin) const { return Wide{high[bin]} << 32 | low[bin]; }
};

// The block's counterpart of the host's FindLimit: the largest logit with the property that the logits from it upwards
// weigh at least target(weight of all).
template <typename Row, typename Weigh, typename Target>
__device__ float FindLimit(const Row& row, Histogram& histogram, Weigh weigh, Target target) {
  __shared__ LimitSearch narrowed;
  LimitSearch search;
  Wide goal = 0;
  while (!search.Done(kIdleBits<typename Row::Element>)) {
    histogram.Clear();
    __syncthreads();
    row.template ForEachChunk<2>(threadIdx.x, kThreads, [&](const auto& values, int first) {
#pragma unroll
      for (int i = 0; i < Row::kChunk; ++i) {
        const uint32_t key = OrderedKey(values[i]);
        if (first + i >= row.vocab || !search.Covers(key)) continue;
        const uint32_t weight = weigh(values[i]);
        if (weight != 0) histogram.Add(search.Bin(key), weight);
      }
    });
    __syncthreads();
    uint32_t bin = LimitSearch::kBins - 1 - threadIdx.x * kBinsPerThread;  // this thread's highest
    Wide mine = 0;
    for (int i = 0; i < kBinsPerThread; ++i) mine += histogram.Sum(bin - i);
    const RunningSum sum = BlockRunningSum(mine);
    if (goal == 0) goal = target(sum.total);
    Wide above = search.above + sum.before;
    if (above < goal && goal <= above + mine) {  // one thread's bins reach the goal
      while (above + histogram.Sum(bin) < goal) above += histogram.Sum(bin--);
      search.Narrow(bin, above);
      narrowed = search;
    }
    __syncthreads();
    search = narrowed;
    __syncthreads();
  }
  return LogitOfKey(search.low);
}

// Score and id of the best logit of this thread's chunks.
template <typename Row>
__device__ Wide Largest(const Row& row, int begin, int step) {
  float best = -INFINITY;
  int chosen = 0;
  row.template ForEachChunk<4>(begin, step, [&](const auto& values, int first) {
#pragma unroll
    for (int i = 0; i < Row::kChunk; ++i) {
      if (values[i] > best) {
        best = values[i];
        chosen = first + i;
      }
    }
  });
  return Packed(best, chosen);
}

// The least logit that the row's filters keep; sampler.cc's LeastKept by a block.
template <typename Row>
__device__ float LeastKept(const Row& row, const DeviceSampling& sampling) {
  __shared__ Histogram histogram;
  const float largest = LogitOfKey(static_cast<uint32_t>(BlockLargest(Largest(row, threadIdx.x, kThreads)) >> 32));
  const float inverse = InverseTemperature(sampling.temperature);
  float least = -INFINITY;
  if (AppliesTopK(sampling.top_k, row.vocab)) {
    least = FindLimit(row, histogram, [](float) { return 1u; }, [&](Wide) { return Wide(sampling.top_k); });
  }
  if (sampling.top_p < 1) {
    const auto mass = [&](float logit) { return logit >= least ? Mass(logit, largest, inverse) : 0u; };
    least = FindLimit(row, histogram, mass, [&](Wide total) { return Wide(TopPTarget(sampling.top_p, total)); });
  }
  if (sampling.min_p > 0) least = fmaxf(least, MinPLimit(sampling.min_p, largest, sampling.temperature));
  return least;
}

// Score and id of the best draw among this thread's chunks, logits below `least` left out.
template <typename Row>
__device__ Wide Draw(const Row& row, int begin, int step, const DeviceSampling& sampling, float least) {
  const float inverse = InverseTemperature(sampling.temperature);
  float best = -INFINITY;
  int chosen = 0;
  row.template ForEachChunk<1>(begin, step, [&](const auto& values, int first) {
#pragma unroll
    for (int group = 0; group < Row::kChunk; group += 4) {
      const float* four = values + group;
      const float largest = fmaxf(fmaxf(four[0], four[1]), fmaxf(four[2], four[3]));
      if (largest < least || largest * inverse + kMostNoise <= best) continue;  // out, or could not win
      const RandomWords words = Philox(sampling.seed, sampling.token_index, (first + group) / 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float score = four[i] * inverse + Gumbel(words[i]);
        if (four[i] >= least && score > best) {
          best = score;
          chosen = first + group + i;
        }
      }
    }
  });
  return Packed(best, chosen);
}

// Adds the block's best to the row's. True in the last of the row's blocks, with the best of all and the meeting as it
// was before the first.
__device__ bool IsLastToMeet(Meeting& meeting, Wide& best) {
  atomicMax(&meeting.best, best);
  __threadfence();
  if (atomicInc(&meeting.arrived, gridDim.x - 1) != gridDim.x - 1) return false;  // the last sets it to 0
  __threadfence();
  best = atomicExch(&meeting.best, Wide{0});
  return true;
}

// Grid (shares, rows). A row with filters is one block's work; of any other row each block takes a share.
template <typename T, bool kWide>
__global__ void __launch_bounds__(kThreads, 2) SampleRowsKernel(RowSampling problem) {
  LetNextKernelStart();
  AwaitEarlierKernels();
  const int index = blockIdx.y;
  const DeviceSampling sampling = problem.sampling[index];
  const bool limited = AppliesLimits(sampling, problem.vocab);
  const bool nothing = sampling.place < 0;
  if (nothing && blockIdx.x == 0 && threadIdx.x == 0) problem.ids[index] = 0;
  if (nothing || (limited && blockIdx.x != 0)) return;

  const Row<T, kWide> row = {static_cast<const T*>(problem.logits) + static_cast<int64_t>(index) * problem.vocab,
                             problem.vocab};
  const float least = limited ? LeastKept(row, sampling) : -INFINITY;
  const int begin = blockIdx.x * kThreads + threadIdx.x, step = limited ? kThreads : gridDim.x * kThreads;
  Wide best = BlockLargest(sampling.temperature > 0 ? Draw(row, begin, step, sampling, least)
                                                    : Largest(row, begin, step));
  if (threadIdx.x != 0) return;
  if (!limited && !IsLastToMeet(static_cast<Meeting*>(problem.workspace)[index], best)) return;
  problem.ids[index] = IdOf(best);
  problem.newest[sampling.place] = IdOf(best);
}

}  // namespace

size_t SampleRowsWorkspace(int rows) { return static_cast<size_t>(rows) * sizeof(Meeting); }

void SampleRows(Element type, const RowSampling& problem, cudaStream_t stream) {
  if (problem.rows == 0) return;
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    const bool wide = problem.vocab * sizeof(T) % 16 == 0 && reinterpret_cast<uintptr_t>(problem.logits) % 16 == 0;
    const int share = kThreads * Row<T, true>::kChunk;
    const int most = std::min((problem.vocab + share - 1) / share, kMostShares);
    const int shares = std::clamp(kMostBlocks / problem.rows, 1, most);
    const dim3 grid(static_cast<unsigned>(shares), static_cast<unsigned>(problem.rows));
    const auto kernel = wide ? SampleRowsKernel<T, true> : SampleRowsKernel<T, false>;
    LaunchDependent(kernel, grid, kThreads, 0, stream, problem);
  });
}

}  // namespace llavamini::kernels
