// Attention of runs of rows among themselves: cuDNN's fused kernel for shapes that it was tried
// with at start-up, else flash attention.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <exception>
#include <map>

#include "model/cuda/dispatch.h"
#include "model/cuda/products.h"
#include "model/cuda/tensors.h"

namespace llavamini::ops::cuda {
namespace {

at::Tensor AttendFlash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const Segments& segments, bool causal) {
  const auto attended = at::_flash_attention_forward(
      q, k, v, segments.first_query, segments.first, segments.most_query_rows, segments.most_rows,
      /*dropout_p=*/0.0, causal, /*return_debug_mask=*/false);
  return std::get<0>(attended).flatten(1);
}

// One causal run that fills its tensors: the form that takes several blocks per head for few
// queries, each some of the keys. Padding may stand behind the run's rows, where none of them
// looks.
at::Tensor AttendFlashAlone(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto attended = at::_flash_attention_forward(
      q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, q.size(0),
      k.size(0), /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false);
  return std::get<0>(attended).squeeze(0).flatten(1);
}

// (Where the sums of all heads' parts are not whole blocks, LibTorch's kernel writes behind them.)
bool StandsAlone(const at::Tensor& q, const at::Tensor& k, const Segments& segments) {
  constexpr int64_t kRowsOfABlock = 16;
  return q.size(0) * q.size(1) % kRowsOfABlock == 0 && segments.rows.size() == 1 &&
         segments.query_rows[0] == q.size(0) && segments.rows[0] == k.size(0);
}

// The runs are equally long. Fewer key-value heads than query heads are cuDNN's own business; what
// it makes lies as the queries do: [runs, rows, H, d].
at::Tensor AttendCudnn(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const Segments& segments, bool causal) {
  const auto runs = static_cast<int64_t>(segments.rows.size());
  const auto heads_first = [&](const at::Tensor& x) {  // → [runs, H, rows, d]
    return x.unflatten(0, {runs, -1}).transpose(1, 2);
  };
  const auto attended = at::_scaled_dot_product_cudnn_attention(
      heads_first(q), heads_first(k), heads_first(v), /*attn_bias=*/{},
      /*compute_log_sumexp=*/false, /*dropout_p=*/0.0, causal, /*return_debug_mask=*/false);
  return std::get<0>(attended).transpose(1, 2).flatten(0, 1).flatten(1);
}

bool AllEqual(const std::vector<int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == values[0]; });
}

// Causal: cuDNN counts from the first row, flash attention from the last.
bool FitsCudnn(const at::Tensor& q, const at::Tensor& k, const Segments& segments, bool causal) {
  return (q.size(2) == 64 || q.size(2) == 128) && q.size(1) % k.size(1) == 0 &&
         AllEqual(segments.rows) && AllEqual(segments.query_rows) &&
         (!causal || segments.query_rows[0] == segments.rows[0]);
}

bool IsCapturing() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  C10_CUDA_CHECK(cudaStreamIsCapturing(Stream(), &status));
  return status != cudaStreamCaptureStatusNone;
}

// All that torch tells cuDNN's plans apart by.
using Plan = std::array<int64_t, 12>;
Plan PlanOf(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
            bool causal) {
  return {static_cast<int64_t>(q.scalar_type()),
          q.get_device(),
          static_cast<int64_t>(segments.rows.size()),
          segments.query_rows[0],
          segments.rows[0],
          q.size(1),
          k.size(1),
          q.size(2),
          q.stride(0),
          k.stride(0),
          v.stride(0),
          causal ? 1 : 0};
}

// Making a plan takes a tenth of a second and must not happen inside a capture: only while products
// are timed. One that failed is never asked for again: torch would take its empty place for a plan.
bool TakesCudnn(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                const Segments& segments, bool causal) {
  thread_local std::map<Plan, bool> works;  // torch keeps its plans by thread as well
  const Plan plan = PlanOf(q, k, v, segments, causal);
  if (const auto known = works.find(plan); known != works.end()) return known->second;
  if (!kernels::Products::OfDevice().timing() || IsCapturing()) return false;
  bool& worked = works[plan];
  try {
    AttendCudnn(q, k, v, segments, causal);
    worked = true;
  } catch (const std::exception&) {
    worked = false;
  }
  return worked;
}

}  // namespace

at::Tensor AttendSegments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const Segments& segments, bool causal) {
  if (q.scalar_type() == at::kFloat || q.size(2) % 8 != 0) {
    return plain::AttendSegments(q, k, v, segments, causal);
  }
  // What cuDNN adds up in which order is its plan's choice, and a plan is made for a number of
  // runs; how flash attention cuts the keys of a run that stands alone depends on its rows.
  const bool may_differ = !kernels::Products::OfDevice().deterministic() && !segments.rows.empty();
  if (may_differ && FitsCudnn(q, k, segments, causal) && TakesCudnn(q, k, v, segments, causal)) {
    return AttendCudnn(q, k, v, segments, causal);
  }
  if (may_differ && causal && StandsAlone(q, k, segments)) return AttendFlashAlone(q, k, v);
  return AttendFlash(q, k, v, segments, causal);
}

}  // namespace llavamini::ops::cuda
