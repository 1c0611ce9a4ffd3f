#include <algorithm>
#include <limits>

#include "model/model.h"
#include "model/ops.h"

namespace llavamini::ops::plain {
namespace {

at::Tensor Turned(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto halves = x.to(at::kFloat).chunk(2, -1);
  const at::Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1);  // [N, 1, d/2]
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1)
      .to(x.scalar_type());
}

// q [B, R, Hq, d], k and v [B, S, Hkv, d], the queries being the last R of the S rows → [B, R,
// Hq·d].
at::Tensor AttendDense(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal) {
  const int64_t rows = q.size(1), seen = k.size(1), groups = q.size(2) / k.size(2);
  const auto heads_first = [](const at::Tensor& x, int64_t repeat) {
    const at::Tensor t = x.transpose(1, 2);  // [B, H, rows, d]
    return repeat == 1 ? t : t.repeat_interleave(repeat, 1);
  };
  at::Tensor mask;
  if (causal && rows > 1 && rows != seen) {  // row r sees keys 0 .. seen - rows + r
    mask = at::ones({rows, seen}, q.options().dtype(at::kBool)).tril(seen - rows);
  }
  const at::Tensor out = at::scaled_dot_product_attention(
      heads_first(q, 1), heads_first(k, groups), heads_first(v, groups),
      mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt, /*dropout_p=*/0.0,
      /*is_causal=*/causal && rows > 1 && rows == seen);
  return out.transpose(1, 2).flatten(2);
}

bool AllEqual(const std::vector<int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == values[0]; });
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = wide.square().mean(-1, /*keepdim=*/true).add(eps).rsqrt();
  return (wide * scale * weight).to(x.scalar_type());
}

Weights Quantized(const Weights& w) {
  constexpr float kLargest = 448;  // of e4m3
  const at::Tensor wide = w.weight.to(at::kFloat);
  const at::Tensor scale =
      (wide.abs().amax(1) / kLargest).clamp_min(std::numeric_limits<float>::min());
  const at::Tensor values = (wide / scale.unsqueeze(1)).clamp(-kLargest, kLargest);
  return {values.to(at::kFloat8_e4m3fn), w.bias, scale};
}

at::Tensor Widened(const Weights& w, at::ScalarType dtype) {
  if (!w.scale.defined()) return w.weight.to(dtype);
  return w.weight.to(dtype).mul_(w.scale.unsqueeze(1));
}

at::Tensor Linear(const at::Tensor& x, const Weights& w, const at::Tensor& residual) {
  at::Tensor y = at::linear(x, Widened(w, x.scalar_type()), w.bias);
  return residual.defined() ? y.add_(residual) : y;
}

void AddLinear(const at::Tensor& x, const Weights& w, at::Tensor& y) {
  y.add_(plain::Linear(x, w, {}));
}

at::Tensor SiluMultiply(const at::Tensor& gate_up) {
  const auto halves = gate_up.chunk(2, -1);
  return at::silu(halves[0]).mul_(halves[1]);
}

void QuickGelu(at::Tensor& x) { x.mul_(at::sigmoid(1.702 * x)); }

void Gelu(at::Tensor& x) { at::gelu_(x); }

at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps) {
  return at::layer_norm(x, {weight.size(0)}, weight, bias, eps);
}

at::Tensor Patches(const at::Tensor& pictures, const PixelScale& scale, const PatchShape& shape,
                   at::ScalarType dtype) {
  const int64_t grid = shape.grid, patch = shape.patch, elements = 3 * patch * patch;
  const at::Tensor pixels =
      (pictures.to(at::kFloat) * (1.0 / 255.0) - scale.mean) / scale.deviation;
  const at::Tensor patches = pixels.narrow(1, 0, grid * patch)
                                 .narrow(2, 0, grid * patch)
                                 .reshape({-1, grid, patch, grid, patch, 3})
                                 .permute({0, 1, 3, 5, 2, 4})
                                 .to(dtype)
                                 .reshape({-1, elements});
  return shape.width == elements ? patches
                                 : at::constant_pad_nd(patches, {0, shape.width - elements});
}

at::Tensor LayerNormPictures(const at::Tensor& first, const at::Tensor& patches,
                             const at::Tensor& positions, const at::Tensor& weight,
                             const at::Tensor& bias, double eps) {
  const at::Tensor own = patches.unflatten(0, {-1, positions.size(0) - 1});
  const at::Tensor x = at::cat({first.expand({own.size(0), 1, -1}), own}, 1) + positions;
  return LayerNorm(x, weight, bias, eps).flatten(0, 1);
}

void Rotate(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
            const at::Tensor& positions) {
  const int64_t turned = heads.query_heads + heads.key_value_heads;
  at::Tensor x = qkv.unflatten(-1, {-1, heads.dim}).narrow(1, 0, turned);
  x.copy_(Turned(x, rope.cos.index_select(0, positions), rope.sin.index_select(0, positions)));
}

void RotateKeep(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, const KeptRows& kept) {
  plain::Rotate(qkv, heads, rope, positions);
  const int64_t runs = kept.keys.size(0);
  kept.keys.copy_(heads.Keys(qkv).flatten(1).unflatten(0, {runs, -1}));
  kept.values.copy_(heads.Values(qkv).flatten(1).unflatten(0, {runs, -1}));
}

void RotateAppend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged) {
  plain::Rotate(qkv, heads, rope, paged.positions);
  const at::Tensor page = paged.slots.floor_divide(kPageTokens), row = paged.slots % kPageTokens;
  // By page and row: [pages, kPageTokens, Hkv, d].
  paged.keys.transpose(1, 2).index_put_({page, row}, heads.Keys(qkv));
  paged.values.transpose(1, 2).index_put_({page, row}, heads.Values(qkv));
}

at::Tensor AttendPages(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged) {
  const int64_t rows = qkv.size(0), groups = heads.query_heads / heads.key_value_heads;
  // On a GPU nothing may wait for a number: all pages that a place can have.
  const int64_t pages = qkv.is_cuda() ? paged.page_table.size(1)
                                      : paged.positions.max().item<int>() / kPageTokens + 1;
  const at::Tensor table =
      paged.page_table.narrow(1, 0, pages).index_select(0, paged.places.clamp_min(0));
  const auto gather = [&](const at::Tensor& cache) {  // → [N, Hkv, most rows, d]
    return cache.index_select(0, table.flatten())
        .view({rows, -1, heads.key_value_heads, kPageTokens, heads.dim})
        .transpose(1, 2)
        .flatten(2, 3);
  };
  const at::Tensor k = gather(paged.keys), v = gather(paged.values);
  const at::Tensor grouped = heads.Queries(qkv).reshape(
      {rows, heads.key_value_heads, groups, heads.dim});  // one row per query head of a group
  const at::Tensor row = at::arange(k.size(2), paged.positions.options());
  const at::Tensor visible = (row <= paged.positions.unsqueeze(1)).view({rows, 1, 1, -1});
  const at::Tensor out = at::scaled_dot_product_attention(grouped, k, v, visible).flatten(1);
  return out.masked_fill((paged.places < 0).unsqueeze(1), 0);
}

at::Tensor AttendSegments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const Segments& segments, bool causal) {
  const auto runs = static_cast<int64_t>(segments.rows.size());
  if (AllEqual(segments.rows) && AllEqual(segments.query_rows)) {
    const auto by_run = [&](const at::Tensor& x) { return x.unflatten(0, {runs, -1}); };
    return AttendDense(by_run(q), by_run(k), by_run(v), causal).flatten(0, 1);
  }
  std::vector<at::Tensor> out;
  for (int64_t i = 0, query = 0, first = 0; i < runs; ++i) {
    const auto run = [&](const at::Tensor& x, int64_t at, int64_t rows) {
      return x.narrow(0, at, rows).unsqueeze(0);
    };
    out.push_back(AttendDense(run(q, query, segments.query_rows[i]),
                              run(k, first, segments.rows[i]), run(v, first, segments.rows[i]),
                              causal)
                      .squeeze(0));
    query += segments.query_rows[i];
    first += segments.rows[i];
  }
  return at::cat(out);
}

std::pair<at::Tensor, at::Tensor> PackVisualAndText(const at::Tensor& qkv, const HeadShape& heads,
                                                    const std::vector<at::Tensor>& visual,
                                                    const Segments& segments) {
  const at::Tensor own_keys = heads.Keys(qkv), own_values = heads.Values(qkv);
  std::vector<at::Tensor> keys, values;
  for (size_t i = 0, first = 0; i < visual.size(); first += segments.query_rows[i++]) {
    const at::Tensor rows = visual[i].unflatten(-1, {heads.key_value_heads, heads.dim});
    const auto at = static_cast<int64_t>(first);
    keys.insert(keys.end(), {rows[0], own_keys.narrow(0, at, segments.query_rows[i])});
    values.insert(values.end(), {rows[1], own_values.narrow(0, at, segments.query_rows[i])});
  }
  return {at::cat(keys), at::cat(values)};
}

at::Tensor GatherRows(const at::Tensor& ids, const at::Tensor& places, const at::Tensor& newest,
                      const at::Tensor& embedding, const at::Tensor& made) {
  const at::Tensor fed = newest.index_select(0, places.clamp_min(0) * (ids == kNewestId));
  const at::Tensor id = at::where(ids == kNewestId, fed, ids).clamp_min(0);
  at::Tensor out = at::embedding(embedding, id);
  const at::Tensor rows = at::nonzero(ids < kNewestId).squeeze(1);
  if (rows.numel() > 0) {
    out.index_copy_(0, rows, made.index_select(0, -2 - ids.index_select(0, rows)));
  }
  return out;
}

}  // namespace llavamini::ops::plain
