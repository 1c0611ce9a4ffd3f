// Launchers of the hand-written CUDA kernels: raw device pointers, element counts and a stream.
// Asynchronous; the caller checks cudaGetLastError(). Rows may be strided: `stride` is the distance
// between rows in elements, elements of a row are adjacent. Addresses are multiples of 16 bytes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace llavamini::kernels {

enum class Element { kFloat32, kFloat16, kBfloat16 };

// x [rows, width] → out [rows, width], both contiguous; weight [width]. The sum of squares in
// float32.
void RmsNorm(Element type, const void* x, const void* weight, void* out, int64_t rows, int width,
             float eps, cudaStream_t stream);

// LayerNorm over `width` elements of a row, a multiple of 8 up to kMostNormWidth.
struct NormWeights {
  const void* weight;  // [width]
  const void* bias;
  int width;
  float eps;
};
inline constexpr int kMostNormWidth = 4096;
bool CanLayerNorm(int64_t width);

// Runs of `run` adjacent rows, `run_stride` elements from one run's first to the next's.
struct NormRows {
  const void* x;
  int run;
  int64_t run_stride;
};
// → out [count, width], contiguous.
void LayerNorm(Element type, const NormRows& rows, const NormWeights& norm, void* out,
               int64_t count, cudaStream_t stream);

// Per picture `first`, then its run - 1 patches; the positions are added to each picture's rows.
struct PictureRows {
  const void* first;      // [width]
  const void* patches;    // [pictures · (run - 1), width]
  const void* positions;  // [run, width]
  int run;
};
void LayerNormPictures(Element type, const PictureRows& rows, const NormWeights& norm, void* out,
                       int64_t count, cudaStream_t stream);

// Square patches, grid · grid of a picture, by channel, row, column: (pixel / 255 - mean) /
// deviation. → out [count · grid², width], zeros behind the 3 · patch² elements.
struct PicturePatches {
  const uint8_t* pictures;  // [count, side, side, 3]
  const float* mean;        // [3]
  const float* deviation;   // [3]
  int64_t count;
  int side, grid, patch, width;
};
void Patches(Element type, const PicturePatches& problem, void* out, cudaStream_t stream);

// gate_up [rows, 2·width], gates first → silu(gate) · up, [rows, width].
void SiluMultiply(Element type, const void* gate_up, void* out, int64_t rows, int width,
                  cudaStream_t stream);

// In place: x · sigmoid(1.702 x).
void QuickGelu(Element type, void* x, int64_t count, cudaStream_t stream);

// In place: x · Φ(x), Φ by erf.
void Gelu(Element type, void* x, int64_t count, cudaStream_t stream);

// y = f(norm(x)) Wᵀ + residual for few rows of x.
struct FewRows {
  const void* x;  // [rows, k]
  int64_t x_stride;
  const void* norm_weight;  // [k], or null: x is not normalised
  float eps;
  const void* weight;    // [n, k]
  const void* residual;  // as y, or null
  void* y;               // [rows, n]; gated: [rows, n / 2], silu(first half) · second half
  int rows, n, k;
  bool gated;
  const float* scales = nullptr;  // [n]: the weights are e4m3 (fp8.h), times these; null: as x
};
inline constexpr int kMostFewRows = 32;
inline constexpr int kFewRowsShared = 96 * 1024;  // bytes of shared memory, at most
bool CanMultiplyFewRows(Element type, const FewRows& problem);
void MultiplyFewRows(Element type, const FewRows& problem, cudaStream_t stream);

// Products with few rows on sm_90, each made of the one before, as fast as weights come from
// memory: y = f(norm(x) Wᵀ) + residual.
struct StreamedProduct {
  const void* x;  // [rows, k]; of a product but the first: what the one before it makes
  int64_t x_stride;
  const void* weight;    // [n, k]
  const float* scales;   // [n]: the weights are e4m3, times these; null: as x; of all or none
  const void* residual;  // as y, or null
  void* y;               // [rows, n]; gated: [rows, n / 2], silu(first half) · second half
  int n, k;
  bool gated;
  // RMSNorm between two products: the first multiplies its y with next_norm [n], to `weighted`; the
  // next one takes that as its x and divides by the root of the mean of that y's squares.
  bool normed = false;
  const void* next_norm = nullptr;
  void* weighted = nullptr;  // as y
};
inline constexpr int kMostStreamedRows = 48;
inline constexpr int kMostStreamedE4m3Rows = 32;  // more are sooner multiplied in e4m3 themselves
inline constexpr int kMostChained = 4;
struct ProductChain {
  StreamedProduct products[kMostChained];
  int count, rows;
  float eps;  // of all norms
};
bool CanStreamWeights(Element type, const ProductChain& chain);
// One at a time on a device. Throws std::runtime_error when the driver refuses a matrix.
void StreamWeights(Element type, const ProductChain& chain, cudaStream_t stream);

// y = activation(x Wᵀ + bias) of many rows of 16 bits on sm_90. Of kSiluGate's weights the first
// half are gates: silu(gate) · up, without a bias. n is a multiple of 16, k of 8. Weights are read
// before the kernels ahead are done.
enum class Activation { kQuickGelu, kGelu, kSiluGate };
struct ActivatedProduct {
  const void* x;  // [rows, k]
  int64_t x_stride;
  const void* weight;  // [n, k]
  const void* bias;    // [n], or null
  void* y;             // [rows, n], or [rows, n / 2]
  int rows, n, k;
  Activation activation;
};
inline constexpr int kActivatedTiles[] = {152, 192, 208, 232, 256};  // rows of x
bool CanActivateProduct(Element type, const ActivatedProduct& product);
// By tiles of so many rows, one of the above. Throws std::runtime_error when the driver refuses.
void ActivateProduct(Element type, const ActivatedProduct& product, int tile_rows,
                     cudaStream_t stream);

// Where rows of sequences lie in paged memory. Each row has a place (below 0: padding, which is
// neither written nor read) and a position in its sequence; a place has its page table.
struct PagedRows {
  const int32_t* places;      // [rows]
  const int32_t* positions;   // [rows]
  const int32_t* page_table;  // [places, most_pages]
  int most_pages;
  void* k_cache;  // [pages, key_value_heads, kPageTokens, dim]
  void* v_cache;
  bool skip_padding = false;  // AttendPages leaves padding rows of `out` as they are; else zeros
};

// Queries, keys and values of some rows as one product makes them: [rows, (query_heads + 2 ·
// key_value_heads) · dim].
struct HeadRows {
  void* qkv;
  int64_t rows;
  int query_heads, key_value_heads, dim;
  const float* cos;  // [positions, dim / 2]
  const float* sin;
};

// Turns queries and keys in place by their positions; with `paged`, keys and values go to their
// slots as well.
void RotateRows(Element type, const HeadRows& heads, const int32_t* positions,
                const PagedRows* paged, cudaStream_t stream);

// Turns queries and keys in place by their positions, and writes keys and values to where they are
// kept. dim is a multiple of 16.
struct KeptRows {
  void* keys;  // runs of `rows` rows of [key_value_heads · dim]
  void* values;
  int64_t stride;  // elements from one run's first row to the next's
  int rows;
};
bool CanRotateKeep(int64_t dim);
void RotateKeep(Element type, const HeadRows& heads, const int32_t* positions, const KeptRows& kept,
                cudaStream_t stream);

// Decode attention: row r attends to rows 0 … positions[r] of its sequence. append: qkv holds the
// newest row of each sequence, not yet turned, which is turned, written to its slot, and attended
// to; else all rows are in the pages and the queries are turned already. A place stands for one row
// only, or its rows see at most kRowsPerSplit rows. → out [rows, query_heads · dim].
inline constexpr int kRowsPerSplit = 256;  // of a sequence, per block at least
inline constexpr int kMostSplits = 16;
bool CanAttendPages(int query_heads, int key_value_heads, int dim, bool append);
// Floats of `workspace`, zero at first, and what it must hold for so many places.
int64_t AttendPagesWorkspace(int places, int query_heads, int key_value_heads, int dim);
void AttendPages(Element type, const HeadRows& heads, const PagedRows& paged, bool append,
                 float scale, float* workspace, void* out, cudaStream_t stream);

// The input of a step: row r is embedding[id] for ids[r] ≥ 0, embedding[newest[place]] for ids[r] =
// kNewest, and made[-2 - ids[r]] below that. → out [rows, width]; width a multiple of 8.
inline constexpr int32_t kNewest = -1;
void GatherRows(Element type, const int32_t* ids, const int32_t* places, const int32_t* newest,
                const void* embedding, const void* made, void* out, int64_t rows, int width,
                cudaStream_t stream);

// Keys (or values) of text rows behind those of the images they are fused with: for each of
// `groups`, R visual rows from visual[group] and L text rows from qkv, which has row stride
// `stride`, rows first_text[group] …, to out at row first[group]. All rows have `width` elements;
// those of out behind the last group's become zeros.
struct PackKeys {
  const int64_t* visual_keys;  // [groups] device addresses of [R, width]
  const int64_t* visual_values;
  const int32_t* first;       // [groups + 1] rows of out
  const int32_t* first_text;  // [groups + 1] rows of keys and values
  const void* keys;
  const void* values;
  int64_t stride;
  void* out_keys;
  void* out_values;
  int groups, width;
  int most_rows;  // of a group
  int all_rows;   // of out
};
void PackVisualAndText(Element type, const PackKeys& problem, cudaStream_t stream);

}  // namespace llavamini::kernels
