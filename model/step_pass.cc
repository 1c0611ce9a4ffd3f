#include "model/step_pass.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

namespace llavamini {
namespace {

using Attention = StepRows::Attention;

int64_t RowsOf(const PromptRow& prompt) {
  const auto* fused = static_cast<const FusedText*>(prompt.fused);
  const auto ids = static_cast<int64_t>(prompt.prompt.size());
  return fused == nullptr ? ids : ids - 1 + fused->tokens.size(0);
}

void Add(const DecodeRow& row, bool on_gpu, StepPass& pass) {
  const bool ahead = ChosenOnDevice(*row.sampling, on_gpu);
  pass.sample_rows.push_back(static_cast<int32_t>(pass.rows()));
  pass.ids.push_back(ahead ? ops::kNewestId : row.answer.back());
  pass.places.push_back(row.place);
  pass.positions.push_back(row.position);
  ++pass.newest_rows;
  pass.sampling.push_back(ForDevice(*row.sampling, row.token_index, row.place));
  pass.on_host.emplace_back();
  if (!ahead) {
    pass.on_host.back() = HostSampling{*row.sampling,
                                       {row.prompt.begin(), row.prompt.end()},
                                       {row.answer.begin(), row.answer.end()}};
  }
}

void Add(const PromptRow& prompt, int64_t index, bool on_gpu, StepPass& pass) {
  const auto* fused = static_cast<const FusedText*>(prompt.fused);
  const int64_t first = pass.rows();
  AppendInputIds(prompt.prompt, fused, pass.made_rows, pass.ids);
  const int64_t rows = pass.rows() - first;
  pass.places.resize(pass.rows(), prompt.place);
  pass.positions.resize(pass.rows());
  std::iota(pass.positions.begin() + first, pass.positions.end(), 0);
  pass.prompt_rows.push_back(rows);
  if (fused != nullptr) {
    TORCH_CHECK(fused->fused == fused->images, "a prompt is prefilled when all images are fused");
    pass.fused.push_back(fused);
    pass.made_rows += static_cast<int64_t>(fused->ids.size()) + fused->tokens.size(0);
  }
  pass.sample_rows.push_back(static_cast<int32_t>(pass.rows() - 1));
  pass.results.push_back(index);
  pass.sampling.push_back(ForDevice(*prompt.sampling, 0, prompt.place));
  pass.on_host.emplace_back();
  if (!ChosenOnDevice(*prompt.sampling, on_gpu)) {
    pass.on_host.back() =
        HostSampling{*prompt.sampling, {prompt.prompt.begin(), prompt.prompt.end()}, {}};
  }
}

}  // namespace

bool ChosenOnDevice(const SamplingParams& params, bool on_gpu) {
  return on_gpu && SamplesOnDevice(params);
}

std::vector<StepPass> PlanPasses(absl::Span<const PromptRow> prompts,
                                 absl::Span<const DecodeRow> rows, const PassLimits& limits) {
  const bool recorded = limits.recorded;
  std::vector<StepPass> passes(1), long_passes;
  const auto add_rows = [&] {
    for (size_t i = 0; i < rows.size(); ++i) {
      Add(rows[i], limits.on_gpu, passes[0]);
      passes[0].results.push_back(static_cast<int64_t>(prompts.size() + i));
    }
  };
  if (!recorded) add_rows();
  for (size_t i = 0; i < prompts.size(); ++i) {
    const int64_t length = RowsOf(prompts[i]);
    if (recorded && length > kMostPagedPromptRows) {
      long_passes.emplace_back().attention = Attention::kSegments;
      Add(prompts[i], static_cast<int64_t>(i), limits.on_gpu, long_passes.back());
      continue;
    }
    const bool first = passes.size() == 1;
    const int64_t taken = passes.back().rows() + (first ? static_cast<int64_t>(rows.size()) : 0);
    const bool fits = taken + length <= limits.max_rows && passes.back().prompts() < kMostPrompts;
    if (recorded && !fits) passes.emplace_back();
    passes.back().attention = recorded ? Attention::kPages : Attention::kSegments;
    Add(prompts[i], static_cast<int64_t>(i), limits.on_gpu, passes.back());
  }
  if (recorded) add_rows();
  if (passes[0].rows() == 0) passes.erase(passes.begin());
  std::move(long_passes.begin(), long_passes.end(), std::back_inserter(passes));
  return passes;
}

}  // namespace llavamini
