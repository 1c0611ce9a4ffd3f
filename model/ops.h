// The operations that have kernels of their own. Each dispatches on the device of its input: CUDA
// kernels (model/cuda) where they are built, else the plain ATen twin, which also tests the kernel.
// Pure; safe from any thread.
#pragma once

#include <ATen/ATen.h>

namespace llavamini::ops {

// x [.., width] → [.., width]: x / sqrt(mean(x²) + eps) · weight.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);

// gate_up [N, 2F], gates first → silu(gate) · up, [N, F].
at::Tensor SiluMultiply(const at::Tensor& gate_up);

// Rotary embedding in Hugging Face's layout (a head's first half rotates with its second): x [N, H,
// d], cos and sin float32 [N, d/2] → as x.
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

// Causal attention over contiguous rows, the queries being the last R of the S rows: q [B, R, Hq,
// d], k and v [B, S, Hkv, d] → [B, R, Hq·d].
at::Tensor AttendCausal(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// Writes rows into paged memory: k and v [N, Hkv, d] to slots [N] (page · kPageTokens + row) of
// caches [pages, kPageTokens, Hkv, d].
void AppendToPages(const at::Tensor& k, const at::Tensor& v, const at::Tensor& slots,
                   at::Tensor& k_cache, at::Tensor& v_cache);

// One query per sequence against its pages: q [N, Hq, d], page_table int32 [N, most pages], lengths
// int32 [N] (rows to see, at least 1) → [N, Hq·d].
at::Tensor AttendPages(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                       const at::Tensor& page_table, const at::Tensor& lengths);

// The same in plain ATen operators, on any device.
namespace plain {
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor SiluMultiply(const at::Tensor& gate_up);
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
void AppendToPages(const at::Tensor& k, const at::Tensor& v, const at::Tensor& slots,
                   at::Tensor& k_cache, at::Tensor& v_cache);
at::Tensor AttendPages(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                       const at::Tensor& page_table, const at::Tensor& lengths);
}  // namespace plain

}  // namespace llavamini::ops
