// Launchers of the hand-written CUDA kernels: raw device pointers, element counts and a stream.
// Asynchronous; the caller checks cudaGetLastError(). Rows may be strided: `stride` is the distance
// between rows in elements, elements of a row are adjacent.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace llavamini::kernels {

enum class Element { kFloat32, kFloat16, kBfloat16 };

// x [rows, width] → out [rows, width], both contiguous; weight [width]. The sum of squares in
// float32.
void RmsNorm(Element type, const void* x, const void* weight, void* out, int64_t rows, int width,
             float eps, cudaStream_t stream);

// gate_up [rows, 2·width], gates first → silu(gate) · up, [rows, width].
void SiluMultiply(Element type, const void* gate_up, void* out, int64_t rows, int width,
                  cudaStream_t stream);

// x [rows, heads, dim] with row stride → out [rows, heads, dim] contiguous; cos, sin float32 [rows,
// dim / 2].
void Rotate(Element type, const void* x, int64_t stride, const float* cos, const float* sin,
            void* out, int64_t rows, int heads, int dim, cudaStream_t stream);

// k, v [rows, width] with row strides → rows slots[i] of the caches [slots, width].
void AppendToPages(Element type, const void* k, int64_t k_stride, const void* v, int64_t v_stride,
                   const int64_t* slots, void* k_cache, void* v_cache, int64_t rows, int width,
                   cudaStream_t stream);

struct PagedAttention {
  const void* q;  // [sequences, query_heads, dim], row stride q_stride
  int64_t q_stride;
  const void* k_cache;  // [pages, kPageTokens, key_value_heads, dim]
  const void* v_cache;
  const int32_t* page_table;  // [sequences, most_pages]
  const int32_t* lengths;     // [sequences]
  void* out;                  // [sequences, query_heads, dim]
  int sequences, query_heads, key_value_heads, dim, most_pages;
  float scale;
};

// Whether AttendPages has an instance: up to 8 query heads per key-value head (a power of two), dim
// up to 256.
bool CanAttendPages(int query_heads, int key_value_heads, int dim);
void AttendPages(Element type, const PagedAttention& problem, cudaStream_t stream);

}  // namespace llavamini::kernels
