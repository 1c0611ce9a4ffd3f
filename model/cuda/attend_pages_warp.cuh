// What a warp does in decode attention with the matrix units: it takes every kWarps-th page (16 keys) of a split, copies its keys and
// values into shared memory, and attends to it; what is on its way at a time is what all warps of an SM wait for. Keys are the rows
// of a product, the queries of the head its 8 columns: logits [keys, queries] = keys · queriesᵀ, then result [dim, queries] +=
// valuesᵀ · weights. Lane (g, t) = (lane / 4, lane % 4) has what fragments.cuh says.
#pragma once

#include "model/cuda/attention_splits.cuh"
#include "model/cuda/fragments.cuh"
#include "model/cuda/launch.cuh"
#include "model/model.h"

namespace llavamini::kernels::matrix {

constexpr int kWarps = 4;  // each adds up its part of a split's pages, so a row's bits follow from it
constexpr int kThreads = 32 * kWarps;
constexpr unsigned kAll = 0xffffffffu;

__device__ inline float Exp(float x) {
  constexpr float kLog2E = 1.44269504F;
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * kLog2E));
  return y;
}

// A row is kPieces pieces of 16 bytes. In a page's copy, piece i of row r lies at i ^ (r % 8): a column of eight rows is in all banks.
template <int kQueries, int kDim>
struct alignas(256) SharedBlock {
  static constexpr int kPieces = kDim / 8;
  static constexpr int kResultStride = kDim + 4;  // in floats; so that a warp's writes are in all banks

  uint4 pages[kWarps][2][kPageTokens * kPieces];  // a page's keys, and its values
  uint4 query[kQueries][kPieces + 1];
  uint4 newest[2][kPieces];  // key, turned, and value
  Softmax softmax[kWarps][kQueries];

  // What a warp has of a query, where its pages were: float [kQueries, kResultStride].
  __device__ float* Result(int warp, int query) { return reinterpret_cast<float*>(pages[warp]) + query * kResultStride; }
};

// The row's queries, keys and values, which earlier kernels make.
template <typename T, int kQueries, int kDim>
struct Row {
  static constexpr int kPieces = kDim / 8;

  const AttentionProblem& p;
  SharedBlock<kQueries, kDim>& shared;

  __device__ const T* Head(int number) const {
    const int heads = p.heads.query_heads + 2 * p.heads.key_value_heads;
    return static_cast<const T*>(p.heads.qkv) + (static_cast<int64_t>(blockIdx.y) * heads + number) * kDim;
  }
  __device__ int FirstQuery() const { return blockIdx.x * kQueries; }

  // The queries as they are.
  __device__ void LoadQueries() const {
    for (int at = threadIdx.x; at < kQueries * kPieces; at += kThreads) {
      shared.query[at / kPieces][at % kPieces] = reinterpret_cast<const uint4*>(Head(FirstQuery()))[at];
    }
  }

  // The queries and the newest key turned, element i with i + kDim / 2, and the newest value. A thread takes four adjacent pairs of a
  // head, the same in each.
  __device__ void LoadTurned(int position) const {
    constexpr int kUnits = kDim / 8;  // of four pairs, in a head
    static_assert(kThreads % kUnits == 0, "a thread's pairs are the same in each head");
    const int key = p.heads.query_heads + blockIdx.x, pair = threadIdx.x % kUnits * 4;
    const int64_t angle = static_cast<int64_t>(position) * (kDim / 2) + pair;
    const float4 cosines = *reinterpret_cast<const float4*>(p.heads.cos + angle);
    const float4 sines = *reinterpret_cast<const float4*>(p.heads.sin + angle);
    const float cos[4] = {cosines.x, cosines.y, cosines.z, cosines.w}, sin[4] = {sines.x, sines.y, sines.z, sines.w};
    AwaitEarlierKernels();
#pragma unroll 1
    for (int unit = threadIdx.x; unit < (kQueries + 1) * kUnits; unit += kThreads) {
      const int head = unit / kUnits;
      const T* own = Head(head < kQueries ? FirstQuery() + head : key) + pair;
      uint2 low = *reinterpret_cast<const uint2*>(own), high = *reinterpret_cast<const uint2*>(own + kDim / 2);
      T *first = reinterpret_cast<T*>(&low), *second = reinterpret_cast<T*>(&high);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float a = ToFloat(first[e]), b = ToFloat(second[e]);
        first[e] = FromFloat<T>(Turned(a, b, cos[e], -sin[e]));
        second[e] = FromFloat<T>(Turned(b, a, cos[e], sin[e]));
      }
      T* target = reinterpret_cast<T*>(head < kQueries ? shared.query[head] : shared.newest[0]) + pair;
      *reinterpret_cast<uint2*>(target) = low;
      *reinterpret_cast<uint2*>(target + kDim / 2) = high;
    }
    const int piece = static_cast<int>(threadIdx.x) - (kThreads - kPieces);  // by the threads with the least to turn
    if (piece >= 0) shared.newest[1][piece] = reinterpret_cast<const uint4*>(Head(key + p.heads.key_value_heads))[piece];
  }
};

// A warp's part of a split: page `at` and every kWarps-th after it, below `end`.
template <typename T, int kQueries, int kDim, bool kAppend>
struct Warp {
  static constexpr int kPieces = kDim / 8;
  static constexpr int kRows = 32 / kPieces;  // that the lanes copy at once: lane i takes piece i % kPieces of row i / kPieces

  const AttentionProblem& p;
  SharedBlock<kQueries, kDim>& shared;
  const int warp = __shfl_sync(kAll, threadIdx.x / 32, 0), lane = threadIdx.x % 32;  // the same for all lanes: the compiler sees it
  const int length;        // rows of the sequence, the newest included
  const int32_t* pages;    // of the sequence
  int at, end;
  int numbers;             // of 32 pages from a multiple of 32 on in this warp's order: lane i has the i-th
  float largest[2], sum[2];    // of queries 2t and 2t + 1; the sums over this lane's keys only
  float result[kDim / 16][4];  // elements g and g + 8 of each 16, of queries 2t and 2t + 1

  __device__ Warp(const AttentionProblem& problem, SharedBlock<kQueries, kDim>& block, int place, int rows)
      : p(problem), shared(block), length(rows),
        pages(p.paged.page_table + static_cast<int64_t>(place) * p.paged.most_pages) {}

  // Where this head's rows of a page lie in a cache, in pieces.
  __device__ int64_t PageStart(int page) const {
    return (static_cast<int64_t>(page) * p.heads.key_value_heads + blockIdx.x) * (kPageTokens * kPieces);
  }

  __device__ void Begin(int first, int end_page) {
    at = first + warp, end = end_page;
    largest[0] = largest[1] = -INFINITY;
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) result[i][0] = result[i][1] = result[i][2] = result[i][3] = 0;
  }

  // Starts copying page `at`, this warp's i-th: the rows that are in the pages, and zeros for the others, since what an earlier
  // sequence left there may be anything. → its number.
  __device__ int Copy(int i) {
    if (i % 32 == 0) {
      const int own = at + kWarps * lane;
      numbers = own < end ? pages[own] : 0;
    }
    const int page = __shfl_sync(kAll, numbers, i % 32);
    const int row = lane / kPieces, rows = length - (kAppend ? 1 : 0) - at * kPageTokens;
    const uint4* keys = static_cast<const uint4*>(p.paged.k_cache) + PageStart(page) + lane;
    const uint4* values = static_cast<const uint4*>(p.paged.v_cache) + PageStart(page) + lane;
    const unsigned target = SharedAddress(shared.pages[warp]) + (row * kPieces + (lane % kPieces ^ row)) * 16;
#pragma unroll
    for (int r = 0; r < kPageTokens; r += kRows) {
      const unsigned own = (target ^ r % 8 * 16) + r * kPieces * 16;
      CopyPiece(own, keys + r * kPieces, row + r < rows);
      CopyPiece(own + kPageTokens * kPieces * 16, values + r * kPieces, row + r < rows);
    }
    return page;
  }

  // Waits for the page. The newest row takes its place in it, and in the sequence's.
  __device__ void Await(int page) {
    AwaitCopies();
    __syncwarp();
    const int newest = length - 1 - at * kPageTokens;  // its row, if in this page
    if (!kAppend || newest >= kPageTokens) return;
    const int half = lane / kPieces, piece = lane % kPieces;
    if (half < 2) {
      const uint4 own = shared.newest[half][piece];
      shared.pages[warp][half][newest * kPieces + (piece ^ newest % 8)] = own;
      static_cast<uint4*>(half == 0 ? p.paged.k_cache : p.paged.v_cache)[PageStart(page) + newest * kPieces + piece] = own;
    }
    __syncwarp();
  }

  // Logits of keys g and g + 8 for queries 2t and 2t + 1.
  __device__ void Multiply(float (&logits)[4]) const {
    float odd[4] = {};
    logits[0] = logits[1] = logits[2] = logits[3] = 0;
    // Of the queries four pieces at a time, a matrix each; columns beyond the queries repeat them. Of the keys two pieces: of rows
    // 0 … 7, of rows 8 … 15, then the next of both.
    const unsigned query = SharedAddress(&shared.query[lane % kQueries][lane / 8]);
    const unsigned key = SharedAddress(shared.pages[warp][0]) + (lane % 16 * kPieces + (lane / 16 ^ lane % 8)) * 16;
#pragma unroll
    for (int i = 0; i < kDim / 32; ++i) {
      unsigned queries[4], even_keys[4], odd_keys[4];
      LoadMatrices(queries, query + i * 64);
      LoadMatrices(even_keys, (key ^ i % 2 * 64) + i / 2 * 128);
      LoadMatrices(odd_keys, (key ^ (i % 2 * 64 + 32)) + i / 2 * 128);
      MultiplyAdd<T>(logits, even_keys, queries[0], queries[1]);
      MultiplyAdd<T>(odd, odd_keys, queries[2], queries[3]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) logits[i] += odd[i];
  }

  // Logits become weights relative to the largest so far, of a page of which `seen` rows count.
  __device__ void Weigh(float (&logits)[4], int seen) {
    const int g = lane / 4;
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      float &low = logits[q], &high = logits[q + 2];
      low = g < seen ? low * p.scale : -INFINITY;
      high = g + 8 < seen ? high * p.scale : -INFINITY;
      float next = fmaxf(largest[q], fmaxf(low, high));
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) next = fmaxf(next, __shfl_xor_sync(kAll, next, offset));
      const float shrink = Exp(largest[q] - next);
      low = Exp(low - next);
      high = Exp(high - next);
      largest[q] = next;
      sum[q] = sum[q] * shrink + (low + high);
#pragma unroll
      for (int i = 0; i < kDim / 16; ++i) {
        result[i][q] *= shrink;
        result[i][q + 2] *= shrink;
      }
    }
  }

  __device__ void AddValues(const float (&weights)[4]) {
    const unsigned low = Transposed(Pack<T>(weights[0], weights[1])), high = Transposed(Pack<T>(weights[2], weights[3]));
    // Two pieces at a time: of rows 0 … 7 one and the next, then of rows 8 … 15.
    const unsigned value =
        SharedAddress(shared.pages[warp][1]) + ((lane % 8 + lane / 16 * 8) * kPieces + (lane / 8 % 2 ^ lane % 8)) * 16;
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      unsigned values[4];
      LoadTransposed(values, (value ^ i % 4 * 32) + i / 4 * 128);
      MultiplyAdd<T>(result[i], values, low, high);
    }
  }

  // Attends to the page that was copied last.
  __device__ void Add(int page) {
    float logits[4];
    Await(page);
    Multiply(logits);
    Weigh(logits, length - at * kPageTokens);
    AddValues(logits);
    __syncwarp();  // the page is read
  }

  // Where the pages were.
  __device__ void Write() {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int q = 0; q < 2; ++q) {
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) sum[q] += __shfl_xor_sync(kAll, sum[q], offset);
      if (2 * t + q >= kQueries) continue;
      if (g == 0) shared.softmax[warp][2 * t + q] = {largest[q], sum[q]};
      float* out = shared.Result(warp, 2 * t + q) + g;
#pragma unroll
      for (int i = 0; i < kDim / 16; ++i) {
        out[16 * i] = result[i][q];
        out[16 * i + 8] = result[i][q + 2];
      }
    }
  }
};

}  // namespace llavamini::kernels::matrix
