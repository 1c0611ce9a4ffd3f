#include "model/ops.h"

namespace llavamini::ops {

at::Tensor AttendCausal(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t rows = q.size(1), seen = k.size(1), groups = q.size(2) / k.size(2);
  const auto heads_first = [&](const at::Tensor& x, int64_t repeat) {
    const at::Tensor t = x.transpose(1, 2);  // [B, H, rows, d]
    return repeat == 1 ? t : t.repeat_interleave(repeat, 1);
  };
  at::Tensor mask;
  if (rows > 1 && rows != seen) {  // row r sees keys 0 .. seen - rows + r
    mask = at::ones({rows, seen}, q.options().dtype(at::kBool)).tril(seen - rows);
  }
  const at::Tensor out = at::scaled_dot_product_attention(
      heads_first(q, 1), heads_first(k, groups), heads_first(v, groups),
      mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt, /*dropout_p=*/0.0,
      /*is_causal=*/rows > 1 && rows == seen);
  return out.transpose(1, 2).flatten(2);
}

namespace plain {

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = wide.square().mean(-1, /*keepdim=*/true).add(eps).rsqrt();
  return (wide * scale * weight).to(x.scalar_type());
}

at::Tensor SiluMultiply(const at::Tensor& gate_up) {
  const auto halves = gate_up.chunk(2, -1);
  return at::silu(halves[0]) * halves[1];
}

at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto halves = x.to(at::kFloat).chunk(2, -1);
  const at::Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1);  // [N, 1, d/2]
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1)
      .to(x.scalar_type());
}

void AppendToPages(const at::Tensor& k, const at::Tensor& v, const at::Tensor& slots,
                   at::Tensor& k_cache, at::Tensor& v_cache) {
  k_cache.flatten(0, 1).index_copy_(0, slots, k);
  v_cache.flatten(0, 1).index_copy_(0, slots, v);
}

at::Tensor AttendPages(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                       const at::Tensor& page_table, const at::Tensor& lengths) {
  const int64_t sequences = q.size(0), groups = q.size(1) / k_cache.size(2);
  const auto gather = [&](const at::Tensor& cache) {  // → [N, Hkv, most rows, d]
    return cache.index_select(0, page_table.flatten())
        .view({sequences, -1, cache.size(2), cache.size(3)})
        .transpose(1, 2);
  };
  const at::Tensor k = gather(k_cache), v = gather(v_cache);
  const at::Tensor grouped =
      q.view({sequences, k.size(1), groups, q.size(2)});  // one row per query head of a group
  const at::Tensor row = at::arange(k.size(2), lengths.options());
  const at::Tensor visible = (row < lengths.unsqueeze(1)).view({sequences, 1, 1, -1});
  return at::scaled_dot_product_attention(grouped, k, v, visible).flatten(1);
}

}  // namespace plain
}  // namespace llavamini::ops
