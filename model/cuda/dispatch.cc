#include "model/cuda/dispatch.h"

#include <cmath>

#include "model/cuda/kernels.h"
#include "model/cuda/products.h"
#include "model/cuda/sampling.h"
#include "model/cuda/tensors.h"

namespace llavamini::ops::cuda {
namespace {

kernels::PagedRows PagedOf(const PagedRows& paged) {
  return {paged.places.data_ptr<int32_t>(),
          paged.positions.data_ptr<int32_t>(),
          paged.page_table.data_ptr<int32_t>(),
          static_cast<int>(paged.page_table.size(1)),
          paged.keys.data_ptr(),
          paged.values.data_ptr()};
}

bool CanAttend(const HeadShape& heads, bool append) {
  return kernels::CanAttendPages(static_cast<int>(heads.query_heads),
                                 static_cast<int>(heads.key_value_heads),
                                 static_cast<int>(heads.dim), append);
}

void AttendInto(const at::Tensor& out, const at::Tensor& qkv, const HeadShape& heads,
                const RopeTable& rope, const kernels::PagedRows& paged, bool append,
                const at::Tensor& workspace) {
  kernels::AttendPages(ElementOf(qkv), HeadsOf(qkv, heads, rope), paged, append,
                       1.0F / std::sqrt(static_cast<float>(heads.dim)), workspace.data_ptr<float>(),
                       out.data_ptr(), Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor Attend(const at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged, bool append, const at::Tensor& workspace) {
  at::Tensor out = at::empty({qkv.size(0), heads.query_heads * heads.dim}, qkv.options());
  AttendInto(out, qkv, heads, rope, PagedOf(paged), append, workspace);
  return out;
}

}  // namespace

bool HasKernels(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf ||
                         x.scalar_type() == at::kFloat);
}

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor rows = x.contiguous();
  const int64_t width = rows.size(-1);
  at::Tensor out = at::empty_like(rows);
  if (out.numel() == 0) return out;
  kernels::RmsNorm(ElementOf(rows), rows.data_ptr(), weight.data_ptr(), out.data_ptr(),
                   out.numel() / width, static_cast<int>(width), static_cast<float>(eps), Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

at::Tensor SiluMultiply(const at::Tensor& gate_up) {
  const at::Tensor rows = gate_up.contiguous();
  const int64_t width = rows.size(-1) / 2;
  at::Tensor out = at::empty({rows.size(0), width}, rows.options());
  if (out.numel() == 0) return out;
  kernels::SiluMultiply(ElementOf(rows), rows.data_ptr(), out.data_ptr(), rows.size(0),
                        static_cast<int>(width), Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

void QuickGelu(at::Tensor& x) {
  TORCH_CHECK(x.is_contiguous(), "quick GELU works in place");
  if (x.numel() == 0) return;
  kernels::QuickGelu(ElementOf(x), x.data_ptr(), x.numel(), Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void Rotate(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
            const at::Tensor& positions) {
  if (qkv.numel() == 0) return;
  kernels::RotateRows(ElementOf(qkv), HeadsOf(qkv, heads, rope), positions.data_ptr<int32_t>(),
                      nullptr, Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void RotateAppend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged) {
  if (qkv.numel() == 0) return;
  const kernels::PagedRows rows = PagedOf(paged);
  kernels::RotateRows(ElementOf(qkv), HeadsOf(qkv, heads, rope), rows.positions, &rows, Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor AttendPages(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged,
                       const at::Tensor& workspace) {
  if (!CanAttend(heads, /*append=*/false)) return plain::AttendPages(qkv, heads, paged);
  return Attend(qkv, heads, {}, paged, /*append=*/false, workspace);
}

bool AttendsPromptsAndPages(const at::Tensor& rows, int64_t count, const HeadShape& heads) {
  // Up to here one kernel for all rows is faster than two; but a prompt's bits then depend on how
  // many rows its step has.
  constexpr int64_t kFewRows = 128;
  const bool two = count > kFewRows || kernels::Products::OfDevice().deterministic();
  return two && HasKernels(rows) && rows.scalar_type() != at::kFloat &&
         CanAttend(heads, /*append=*/false);
}

at::Tensor AttendPromptsAndPages(const at::Tensor& qkv, const HeadShape& heads,
                                 const Segments& prompts, const PagedRows& newest,
                                 const at::Tensor& workspace) {
  at::Tensor out =
      cuda::AttendSegments(heads.Queries(qkv), heads.Keys(qkv), heads.Values(qkv), prompts,
                           /*causal=*/true);
  kernels::PagedRows paged = PagedOf(newest);
  paged.skip_padding = true;
  AttendInto(out, qkv, heads, {}, paged, /*append=*/false, workspace);
  return out;
}

at::Tensor AppendAttend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                        const PagedRows& paged, const at::Tensor& workspace) {
  if (CanAttend(heads, /*append=*/true)) {
    return Attend(qkv, heads, rope, paged, /*append=*/true, workspace);
  }
  cuda::RotateAppend(qkv, heads, rope, paged);
  return cuda::AttendPages(qkv, heads, paged, workspace);
}

int64_t AttendWorkspace(int64_t places, const HeadShape& heads) {
  return kernels::AttendPagesWorkspace(
      static_cast<int>(places), static_cast<int>(heads.query_heads),
      static_cast<int>(heads.key_value_heads), static_cast<int>(heads.dim));
}

std::pair<at::Tensor, at::Tensor> PackVisualAndText(const at::Tensor& qkv, const HeadShape& heads,
                                                    const at::Tensor& addresses,
                                                    const Segments& segments) {
  const int64_t runs = addresses.size(1), width = heads.key_value_heads * heads.dim;
  TORCH_CHECK(qkv.is_contiguous() && width % 8 == 0, "rows of heads are contiguous");
  int64_t rows = 0;
  for (const int64_t count : segments.rows) rows += count;
  const at::Tensor out = at::empty({2, rows, heads.key_value_heads, heads.dim}, qkv.options());
  const auto* first = addresses.data_ptr<int64_t>();
  kernels::PackVisualAndText(ElementOf(qkv),
                             {first, first + runs, segments.first.data_ptr<int32_t>(),
                              segments.first_query.data_ptr<int32_t>(), heads.Keys(qkv).data_ptr(),
                              heads.Values(qkv).data_ptr(), qkv.size(1), out[0].data_ptr(),
                              out[1].data_ptr(), static_cast<int>(runs), static_cast<int>(width),
                              static_cast<int>(segments.most_rows), static_cast<int>(rows)},
                             Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {out[0], out[1]};
}

at::Tensor GatherRows(const at::Tensor& ids, const at::Tensor& places, const at::Tensor& newest,
                      const at::Tensor& embedding, const at::Tensor& made) {
  const int64_t width = embedding.size(1);
  if (width % 8 != 0) return plain::GatherRows(ids, places, newest, embedding, made);
  at::Tensor out = at::empty({ids.size(0), width}, embedding.options());
  kernels::GatherRows(ElementOf(embedding), ids.data_ptr<int32_t>(), places.data_ptr<int32_t>(),
                      newest.data_ptr<int32_t>(), embedding.data_ptr(), made.data_ptr(),
                      out.data_ptr(), ids.size(0), static_cast<int>(width), Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

void SampleRows(const at::Tensor& logits, const at::Tensor& sampling, at::Tensor& ids,
                at::Tensor& newest, const at::Tensor& workspace) {
  kernels::SampleRows(ElementOf(logits),
                      {logits.data_ptr(), static_cast<const DeviceSampling*>(sampling.data_ptr()),
                       ids.data_ptr<int32_t>(), newest.data_ptr<int32_t>(), workspace.data_ptr(),
                       static_cast<int>(logits.size(0)), static_cast<int>(logits.size(1))},
                      Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

int64_t SampleWorkspace(int64_t rows) {
  return static_cast<int64_t>(kernels::SampleRowsWorkspace(static_cast<int>(rows)));
}

int64_t PaddedRows(int64_t rows) { return kernels::PaddedRows(rows); }

void SetTimingProducts(bool timing) { kernels::Products::OfDevice().set_timing(timing); }

void SetDeterministicProducts(bool deterministic) {
  kernels::Products::OfDevice().set_deterministic(deterministic);
}

void LoadProductChoices(const std::string& file) { kernels::Products::OfDevice().Load(file); }

void SaveProductChoices(const std::string& file) { kernels::Products::OfDevice().Save(file); }

}  // namespace llavamini::ops::cuda
