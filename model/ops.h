// The operations that modules are made of. Each dispatches on the device of its input: CUDA kernels
// and products (model/cuda), on a CPU loops and packed products (model/cpu), where they are built
// and know dtype and shape; else the plain ATen twin, which tests both and is the fallback. Used by
// the engine's thread, or at load.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/checkpoint/model_config.h"

namespace llavamini::ops {

// x [.., width] → [.., width]: x / sqrt(mean(x²) + eps) · weight.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);

// What x is multiplied by: W [out, in], and added to the product.
struct Weights {
  at::Tensor weight;       // [out, in], of x's dtype, or float8_e4m3fn: then W is weight · scale
  at::Tensor bias = {};    // [out], or undefined
  at::Tensor scale = {};   // float32 [out], of an e4m3 weight
  at::Tensor packed = {};  // W as oneDNN reads it, on a CPU; then `weight` may be undefined

  Weights Rows(int64_t first, int64_t last) const;  // views of these rows of W
};

// The same in e4m3: each row's scale is its largest |element| / 448. Once, at load: what w alone
// holds is given back to the GPU, so that no gaps stay between the weights that are kept.
Weights Quantized(Weights w);

// The same as products on its device want it: packed on a CPU. Once, at load.
Weights Packed(const Weights& w);

// x Wᵀ + bias + residual: x [.., in], residual [.., out] or undefined → [.., out]. Of an e4m3
// weight a GPU takes many rows of x in e4m3 as well, few rows as they are.
at::Tensor Linear(const at::Tensor& x, const Weights& w, const at::Tensor& residual);

// y += x Wᵀ + bias, in place: x [.., in], y [.., out], contiguous.
void AddLinear(const at::Tensor& x, const Weights& w, at::Tensor& y);

// QuickGelu or Gelu of x Wᵀ + bias, W not of e4m3: x [.., in] → [.., out].
at::Tensor ActivatedLinear(const at::Tensor& x, const Weights& w, HiddenAct activation);

// RmsNorm(x) Wᵀ: x [N, in] → [N, out].
at::Tensor NormLinear(const at::Tensor& x, const at::Tensor& norm_weight, double eps,
                      const Weights& w);

// The gated half of LLaMA's MLP: gate_up [2F, in], gates first → silu(gate) · up of RmsNorm(x), [N,
// F].
at::Tensor NormGatedLinear(const at::Tensor& x, const at::Tensor& norm_weight, double eps,
                           const Weights& gate_up);

// What stands between the attentions of two LLaMA blocks, a chain of products: x [N, D], attended
// [N, H·d] → x₁ = attended Woᵀ + x, then x₂ = (gated half of RmsNorm(x₁)) Wdownᵀ + x₁, which is
// returned, and with `next` RmsNorm(x₂) Wnextᵀ as well.
struct BlockEnd {
  const Weights& out;
  const at::Tensor& norm;
  double eps;
  const Weights& gate_up;
  const Weights& down;
};
struct BlockStart {
  const at::Tensor& norm;
  double eps;
  const Weights& product;
};
std::pair<at::Tensor, at::Tensor> FinishBlock(const at::Tensor& x, const at::Tensor& attended,
                                              const BlockEnd& end, const BlockStart* next);

// gate_up [N, 2F], gates first → silu(gate) · up, [N, F].
at::Tensor SiluMultiply(const at::Tensor& gate_up);

// x · sigmoid(1.702 x), in place.
void QuickGelu(at::Tensor& x);

// x · Φ(x), Φ by erf, in place.
void Gelu(at::Tensor& x);

// x [.., width] → [.., width]: (x - mean(x)) / sqrt(variance(x) + eps) · weight + bias.
at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps);

// Patches of pictures as rows of a product: uint8 [N, side, side, 3] → [N·grid², width], a patch's
// pixels by channel, row, column as (pixel / 255 - mean) / deviation, then zeros.
struct PixelScale {
  at::Tensor mean;  // float32 [3], of pixels in 0 … 1
  at::Tensor deviation;
};
struct PatchShape {
  int64_t grid;   // patches in a row
  int64_t patch;  // pixels in a row of one
  int64_t width;  // at least 3 · patch²
};
at::Tensor Patches(const at::Tensor& pictures, const PixelScale& scale, const PatchShape& shape,
                   at::ScalarType dtype);

// LayerNorm of pictures' rows: of each `first` [width], then its patches [N·P, width], to which the
// positions [P+1, width] are added. → [N·(P+1), width].
at::Tensor LayerNormPictures(const at::Tensor& first, const at::Tensor& patches,
                             const at::Tensor& positions, const at::Tensor& weight,
                             const at::Tensor& bias, double eps);

// Cosines and sines of rotary embedding by position, float32 [positions, d/2] each.
struct RopeTable {
  at::Tensor cos;
  at::Tensor sin;
};

// Paged keys and values of one layer, and where rows of sequences lie in them. A row with a place
// below 0 is padding: it is neither written nor read.
struct PagedRows {
  at::Tensor places;      // int32 [N]
  at::Tensor positions;   // int32 [N], in the sequence
  at::Tensor page_table;  // int32 [places, most pages]
  at::Tensor keys;        // [pages, Hkv, kPageTokens, d]: a head's page is one piece of memory
  at::Tensor values;
  at::Tensor slots;  // int64 [N]: page · kPageTokens + row; read by the plain twin only
};

// Queries, keys and values of rows as one product makes them: qkv [N, (Hq + 2·Hkv)·d].
struct HeadShape {
  int64_t query_heads;
  int64_t key_value_heads;
  int64_t dim;

  at::Tensor Queries(const at::Tensor& qkv) const;  // views [N, H, d]
  at::Tensor Keys(const at::Tensor& qkv) const;
  at::Tensor Values(const at::Tensor& qkv) const;
};

// Turns queries and keys in place, in Hugging Face's layout (a head's first half turns with its
// second), by int32 positions [N].
void Rotate(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
            const at::Tensor& positions);

// The same of B runs of R rows, and copies keys and values to where they are kept.
struct KeptRows {
  at::Tensor keys;  // [B, R, Hkv·d]
  at::Tensor values;
};
void RotateKeep(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, const KeptRows& kept);

// Rotate, and writes keys and values to their slots.
void RotateAppend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged);

// Each row attends to rows 0 … its position of its sequence, all of them in the pages; queries are
// turned. → [N, Hq·d]. workspace: float32, zeros at first, of AttendWorkspace() elements.
at::Tensor AttendPages(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged,
                       const at::Tensor& workspace);

// Rows of whole prompts, which stand first and attend among themselves (`prompts`: runs of at most
// most_rows rows, known on the device only), and newest rows behind them, which attend to their
// pages; `newest` has a place for the latter only. Other rows of the result are undefined.
at::Tensor AttendPromptsAndPages(const at::Tensor& qkv, const HeadShape& heads,
                                 const struct Segments& prompts, const PagedRows& newest,
                                 const at::Tensor& workspace);
// Whether a step of so many rows of this dtype and device does better so than with AttendPages of
// all its rows, prompts among them.
bool AttendsPromptsAndPages(const at::Tensor& rows, int64_t count, const HeadShape& heads);

// RotateAppend, then AttendPages, of one row per sequence.
at::Tensor AppendAttend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                        const PagedRows& paged, const at::Tensor& workspace);

int64_t AttendWorkspace(int64_t places, const HeadShape& heads);

// Runs of adjacent rows that attend among themselves; the queries of a run are the last of its
// rows.
struct Segments {
  std::vector<int64_t> query_rows;  // per run
  std::vector<int64_t> rows;
  at::Tensor first_query;  // int32 [runs + 1]
  at::Tensor first;        // int32 [runs + 1]
  int64_t most_query_rows = 0;
  int64_t most_rows = 0;
};
Segments MakeSegments(const std::vector<int64_t>& query_rows, const std::vector<int64_t>& rows,
                      const at::Device& device);

// q [Nq, Hq, d], k and v [N, Hkv, d] → [Nq, Hq·d].
at::Tensor AttendSegments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const Segments& segments, bool causal);

// Text rows behind the visual rows that they are fused with: for each run of `segments`, rows that
// `visual` has (keys, then values: [2, R, Hkv·d]), then the run's rows of qkv. → keys and values
// [N, Hkv, d] as AttendSegments takes them. addresses: int64 [2, runs], where the visual keys and
// values lie on a GPU. In a graph N is padded: zeros stand behind the rows that the device counts.
std::pair<at::Tensor, at::Tensor> PackVisualAndText(const at::Tensor& qkv, const HeadShape& heads,
                                                    const std::vector<at::Tensor>& visual,
                                                    const at::Tensor& addresses,
                                                    const Segments& segments);

// A step's input: row r is embedding[id] for ids[r] ≥ 0, embedding[newest[place]] for kNewest, and
// made[-2 - id] below that. ids, places int32 [N], newest int32 [places] → [N, width].
inline constexpr int32_t kNewestId = -1;
at::Tensor GatherRows(const at::Tensor& ids, const at::Tensor& places, const at::Tensor& newest,
                      const at::Tensor& embedding, const at::Tensor& made);

// On a GPU only: chooses a token for each row of logits [S, V] by sampling (DeviceSampling [S], as
// bytes). → ids int32 [S]; newest int32 [places] gets them as well. workspace: bytes, zero at
// first, of SampleWorkspace(S).
void SampleRows(const at::Tensor& logits, const at::Tensor& sampling, at::Tensor& ids,
                at::Tensor& newest, const at::Tensor& workspace);
int64_t SampleWorkspace(int64_t rows);

// Rows that a step of so many rows is made for; on a CPU as many.
int64_t PaddedRows(int64_t rows);

// How products are chosen on a GPU (see cuda/products.h); nothing on a CPU.
void SetTimingProducts(bool timing);
void SetDeterministicProducts(bool deterministic);
void LoadProductChoices(const std::string& file);
void SaveProductChoices(const std::string& file);

// The same in plain ATen operators, on any device.
namespace plain {
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);
Weights Quantized(const Weights& w);
// W in this dtype, rounded to it.
at::Tensor Widened(const Weights& w, at::ScalarType dtype);
at::Tensor Linear(const at::Tensor& x, const Weights& w, const at::Tensor& residual);
void AddLinear(const at::Tensor& x, const Weights& w, at::Tensor& y);
at::Tensor SiluMultiply(const at::Tensor& gate_up);
void QuickGelu(at::Tensor& x);
void Gelu(at::Tensor& x);
at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps);
at::Tensor Patches(const at::Tensor& pictures, const PixelScale& scale, const PatchShape& shape,
                   at::ScalarType dtype);
at::Tensor LayerNormPictures(const at::Tensor& first, const at::Tensor& patches,
                             const at::Tensor& positions, const at::Tensor& weight,
                             const at::Tensor& bias, double eps);
void Rotate(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
            const at::Tensor& positions);
void RotateKeep(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, const KeptRows& kept);
void RotateAppend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged);
at::Tensor AttendPages(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged);
at::Tensor AttendSegments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const Segments& segments, bool causal);
std::pair<at::Tensor, at::Tensor> PackVisualAndText(const at::Tensor& qkv, const HeadShape& heads,
                                                    const std::vector<at::Tensor>& visual,
                                                    const Segments& segments);
at::Tensor GatherRows(const at::Tensor& ids, const at::Tensor& places, const at::Tensor& newest,
                      const at::Tensor& embedding, const at::Tensor& made);
}  // namespace plain

}  // namespace llavamini::ops
