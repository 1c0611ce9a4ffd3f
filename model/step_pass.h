// A step cut into passes through the language model, and a pass's rows as numbers. Used by
// StepRunner, on the thread that owns the model.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "model/fused_text.h"
#include "model/language_model.h"
#include "model/sampler.h"

namespace llavamini {

// A row whose token the host chooses.
struct HostSampling {
  SamplingParams params;
  std::vector<TokenId> prompt;
  std::vector<TokenId> answer;
};

// One run of the model.
struct StepPass {
  StepRows::Attention attention = StepRows::Attention::kNewest;
  std::vector<int32_t> ids, places, positions;  // per row
  std::vector<int32_t> sample_rows;             // the rest per token to choose
  std::vector<int64_t> results;                 // which of the step's tokens it is
  std::vector<DeviceSampling> sampling;
  std::vector<std::optional<HostSampling>> on_host;
  int64_t newest_rows = 0;
  std::vector<int64_t> prompt_rows;     // of each prompt
  std::vector<const FusedText*> fused;  // whose rows stand in `made`, one after another
  int64_t made_rows = 0;

  int64_t rows() const { return static_cast<int64_t>(ids.size()); }
  int64_t prompts() const { return static_cast<int64_t>(prompt_rows.size()); }
  int64_t tokens() const { return static_cast<int64_t>(sample_rows.size()); }
};

inline constexpr int64_t kMostPrompts = 128;  // of a pass that is a graph

struct PassLimits {
  bool on_gpu = false;    // tokens are chosen there
  bool recorded = false;  // passes but those of long prompts are graphs
  int64_t max_rows = 0;   // of a graph
};

// Whether the device chooses the token, so that the next step can be launched before it is known.
bool ChosenOnDevice(const SamplingParams& params, bool on_gpu);

// Recorded, newest rows and short prompts, which stand before them, share passes, and a long prompt
// has one of its own; else everything is one pass, newest rows first. A step's tokens are those of
// the prompts, then those of the rows.
std::vector<StepPass> PlanPasses(absl::Span<const PromptRow> prompts,
                                 absl::Span<const DecodeRow> rows, const PassLimits& limits);

}  // namespace llavamini
