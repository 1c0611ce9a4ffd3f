#include "model/ops.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "model/cpu/attend_pages.h"
#include "model/cpu/attend_rows.h"
#include "model/cpu/packed_linear.h"
#include "model/cpu/rows.h"
#include "model/upload.h"

#ifdef LLAVAMINI_WITH_CUDA
#include "model/cuda/dispatch.h"
#endif

namespace llavamini::ops {
namespace {

at::Tensor Firsts(const std::vector<int64_t>& counts, const at::Device& device) {
  std::vector<int32_t> firsts(counts.size() + 1, 0);
  std::partial_sum(counts.begin(), counts.end(), firsts.begin() + 1);
  return Upload(firsts, device);
}

}  // namespace

at::Tensor HeadShape::Queries(const at::Tensor& qkv) const {
  return qkv.unflatten(-1, {-1, dim}).narrow(1, 0, query_heads);
}
at::Tensor HeadShape::Keys(const at::Tensor& qkv) const {
  return qkv.unflatten(-1, {-1, dim}).narrow(1, query_heads, key_value_heads);
}
at::Tensor HeadShape::Values(const at::Tensor& qkv) const {
  return qkv.unflatten(-1, {-1, dim}).narrow(1, query_heads + key_value_heads, key_value_heads);
}

Weights Weights::Rows(int64_t first, int64_t last) const {
  const auto rows = [&](const at::Tensor& t) { return t.defined() ? t.slice(0, first, last) : t; };
  return {rows(weight.defined() || !packed.defined() ? weight : cpu::Unpacked(packed)), rows(bias),
          rows(scale)};
}

Segments MakeSegments(const std::vector<int64_t>& query_rows, const std::vector<int64_t>& rows,
                      const at::Device& device) {
  return {query_rows,
          rows,
          Firsts(query_rows, device),
          Firsts(rows, device),
          *std::max_element(query_rows.begin(), query_rows.end()),
          *std::max_element(rows.begin(), rows.end())};
}

#ifdef LLAVAMINI_WITH_CUDA
#define LLAVAMINI_ON_GPU(x, call) \
  if (cuda::HasKernels(x)) return cuda::call
#else
#define LLAVAMINI_ON_GPU(x, call) static_cast<void>(0)
#endif

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  LLAVAMINI_ON_GPU(x, RmsNorm(x, weight, eps));
  if (cpu::TakesRows(x, x.size(-1))) return cpu::RmsNorm(x, weight, eps);
  return plain::RmsNorm(x, weight, eps);
}

Weights Quantized(Weights w) {
  LLAVAMINI_ON_GPU(w.weight, Quantized(std::move(w)));
  return plain::Quantized(w);
}

Weights Packed(const Weights& w) { return cpu::Packed(w); }

at::Tensor Linear(const at::Tensor& x, const Weights& w, const at::Tensor& residual) {
  LLAVAMINI_ON_GPU(x, Linear(x, w, residual));
  if (w.packed.defined()) return cpu::Linear(x, w, residual);
  return plain::Linear(x, w, residual);
}

void AddLinear(const at::Tensor& x, const Weights& w, at::Tensor& y) {
  LLAVAMINI_ON_GPU(x, AddLinear(x, w, y));
  if (w.packed.defined()) {
    y.copy_(cpu::Linear(x, w, y));
  } else {
    plain::AddLinear(x, w, y);
  }
}

at::Tensor ActivatedLinear(const at::Tensor& x, const Weights& w, HiddenAct activation) {
  LLAVAMINI_ON_GPU(x, ActivatedLinear(x, w, activation));
  at::Tensor y = Linear(x, w, {});
  activation == HiddenAct::kGelu ? Gelu(y) : QuickGelu(y);
  return y;
}

at::Tensor NormLinear(const at::Tensor& x, const at::Tensor& norm_weight, double eps,
                      const Weights& w) {
  LLAVAMINI_ON_GPU(x, NormLinear(x, norm_weight, eps, w));
  return Linear(RmsNorm(x, norm_weight, eps), w, {});
}

at::Tensor NormGatedLinear(const at::Tensor& x, const at::Tensor& norm_weight, double eps,
                           const Weights& gate_up) {
  LLAVAMINI_ON_GPU(x, NormGatedLinear(x, norm_weight, eps, gate_up));
  return SiluMultiply(Linear(RmsNorm(x, norm_weight, eps), gate_up, {}));
}

std::pair<at::Tensor, at::Tensor> FinishBlock(const at::Tensor& x, const at::Tensor& attended,
                                              const BlockEnd& end, const BlockStart* next) {
#ifdef LLAVAMINI_WITH_CUDA
  if (cuda::HasKernels(x)) {
    auto streamed = cuda::StreamBlock(x, attended, end, next);
    if (streamed.first.defined()) return streamed;
  }
#endif
  const at::Tensor between = Linear(attended, end.out, x);
  const at::Tensor y =
      Linear(NormGatedLinear(between, end.norm, end.eps, end.gate_up), end.down, between);
  return {y, next != nullptr ? NormLinear(y, next->norm, next->eps, next->product) : at::Tensor()};
}

at::Tensor SiluMultiply(const at::Tensor& gate_up) {
  LLAVAMINI_ON_GPU(gate_up, SiluMultiply(gate_up));
  if (cpu::TakesRows(gate_up, gate_up.size(-1) / 2)) return cpu::SiluMultiply(gate_up);
  return plain::SiluMultiply(gate_up);
}

void QuickGelu(at::Tensor& x) {
  LLAVAMINI_ON_GPU(x, QuickGelu(x));
  if (cpu::TakesRows(x, x.size(-1))) return cpu::QuickGelu(x);
  plain::QuickGelu(x);
}

void Gelu(at::Tensor& x) {
  LLAVAMINI_ON_GPU(x, Gelu(x));
  plain::Gelu(x);
}

at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps) {
  LLAVAMINI_ON_GPU(x, LayerNorm(x, weight, bias, eps));
  return plain::LayerNorm(x, weight, bias, eps);
}

at::Tensor Patches(const at::Tensor& pictures, const PixelScale& scale, const PatchShape& shape,
                   at::ScalarType dtype) {
  LLAVAMINI_ON_GPU(scale.mean, Patches(pictures, scale, shape, dtype));
  return plain::Patches(pictures, scale, shape, dtype);
}

at::Tensor LayerNormPictures(const at::Tensor& first, const at::Tensor& patches,
                             const at::Tensor& positions, const at::Tensor& weight,
                             const at::Tensor& bias, double eps) {
  LLAVAMINI_ON_GPU(patches, LayerNormPictures(first, patches, positions, weight, bias, eps));
  return plain::LayerNormPictures(first, patches, positions, weight, bias, eps);
}

void Rotate(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
            const at::Tensor& positions) {
  LLAVAMINI_ON_GPU(qkv, Rotate(qkv, heads, rope, positions));
  if (cpu::TakesRows(qkv, heads.dim / 2)) return cpu::Rotate(qkv, heads, rope, positions);
  plain::Rotate(qkv, heads, rope, positions);
}

void RotateKeep(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, const KeptRows& kept) {
  LLAVAMINI_ON_GPU(qkv, RotateKeep(qkv, heads, rope, positions, kept));
  if (cpu::TakesRows(qkv, heads.dim / 2)) {
    return cpu::RotateKeep(qkv, heads, rope, positions, kept);
  }
  plain::RotateKeep(qkv, heads, rope, positions, kept);
}

void RotateAppend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged) {
  LLAVAMINI_ON_GPU(qkv, RotateAppend(qkv, heads, rope, paged));
  if (cpu::TakesRows(qkv, heads.dim / 2)) return cpu::RotateAppend(qkv, heads, rope, paged);
  plain::RotateAppend(qkv, heads, rope, paged);
}

at::Tensor AttendPages(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged,
                       const at::Tensor& workspace) {
  LLAVAMINI_ON_GPU(qkv, AttendPages(qkv, heads, paged, workspace));
  static_cast<void>(workspace);
  if (cpu::AttendsPages(qkv, heads)) return cpu::AttendPages(qkv, heads, paged);
  return plain::AttendPages(qkv, heads, paged);
}

#ifdef LLAVAMINI_WITH_CUDA
at::Tensor AttendPromptsAndPages(const at::Tensor& qkv, const HeadShape& heads,
                                 const Segments& prompts, const PagedRows& newest,
                                 const at::Tensor& workspace) {
  return cuda::AttendPromptsAndPages(qkv, heads, prompts, newest, workspace);
}
bool AttendsPromptsAndPages(const at::Tensor& rows, int64_t count, const HeadShape& heads) {
  return cuda::AttendsPromptsAndPages(rows, count, heads);
}
#else
at::Tensor AttendPromptsAndPages(const at::Tensor& /*qkv*/, const HeadShape& /*heads*/,
                                 const Segments& /*prompts*/, const PagedRows& /*newest*/,
                                 const at::Tensor& /*workspace*/) {
  TORCH_CHECK(false, "prompts and newest rows attend apart on a CPU");
}
bool AttendsPromptsAndPages(const at::Tensor& /*rows*/, int64_t /*count*/,
                            const HeadShape& /*heads*/) {
  return false;
}
#endif

at::Tensor AppendAttend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                        const PagedRows& paged, const at::Tensor& workspace) {
  LLAVAMINI_ON_GPU(qkv, AppendAttend(qkv, heads, rope, paged, workspace));
  RotateAppend(qkv, heads, rope, paged);
  return AttendPages(qkv, heads, paged, workspace);
}

int64_t AttendWorkspace([[maybe_unused]] int64_t places, [[maybe_unused]] const HeadShape& heads) {
#ifdef LLAVAMINI_WITH_CUDA
  return cuda::AttendWorkspace(places, heads);
#else
  return 0;
#endif
}

at::Tensor AttendSegments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const Segments& segments, bool causal) {
  LLAVAMINI_ON_GPU(q, AttendSegments(q, k, v, segments, causal));
  if (cpu::AttendsRows(q, k, v)) return cpu::AttendSegments(q, k, v, segments, causal);
  return plain::AttendSegments(q, k, v, segments, causal);
}

std::pair<at::Tensor, at::Tensor> PackVisualAndText(const at::Tensor& qkv, const HeadShape& heads,
                                                    const std::vector<at::Tensor>& visual,
                                                    [[maybe_unused]] const at::Tensor& addresses,
                                                    const Segments& segments) {
  LLAVAMINI_ON_GPU(qkv, PackVisualAndText(qkv, heads, addresses, segments));
  return plain::PackVisualAndText(qkv, heads, visual, segments);
}

at::Tensor GatherRows(const at::Tensor& ids, const at::Tensor& places, const at::Tensor& newest,
                      const at::Tensor& embedding, const at::Tensor& made) {
  LLAVAMINI_ON_GPU(embedding, GatherRows(ids, places, newest, embedding, made));
  return plain::GatherRows(ids, places, newest, embedding, made);
}

#ifdef LLAVAMINI_WITH_CUDA

void SampleRows(const at::Tensor& logits, const at::Tensor& sampling, at::Tensor& ids,
                at::Tensor& newest, const at::Tensor& workspace) {
  cuda::SampleRows(logits, sampling, ids, newest, workspace);
}
int64_t SampleWorkspace(int64_t rows) { return cuda::SampleWorkspace(rows); }
int64_t PaddedRows(int64_t rows) { return cuda::PaddedRows(rows); }
void SetTimingProducts(bool timing) { cuda::SetTimingProducts(timing); }
void SetDeterministicProducts(bool deterministic) { cuda::SetDeterministicProducts(deterministic); }
void LoadProductChoices(const std::string& file) { cuda::LoadProductChoices(file); }
void SaveProductChoices(const std::string& file) { cuda::SaveProductChoices(file); }

#else

void SampleRows(const at::Tensor& /*logits*/, const at::Tensor& /*sampling*/, at::Tensor& /*ids*/,
                at::Tensor& /*newest*/, const at::Tensor& /*workspace*/) {
  TORCH_CHECK(false, "tokens are chosen by the host on a CPU");
}
int64_t SampleWorkspace(int64_t /*rows*/) { return 0; }
int64_t PaddedRows(int64_t rows) { return rows; }
void SetTimingProducts(bool /*timing*/) {}
void SetDeterministicProducts(bool /*deterministic*/) {}
void LoadProductChoices(const std::string& /*file*/) {}
void SaveProductChoices(const std::string& /*file*/) {}

#endif

}  // namespace llavamini::ops
