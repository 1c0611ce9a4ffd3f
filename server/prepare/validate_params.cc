#include "server/prepare/validate_params.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/prepare/errors.h"

namespace llavamini {
namespace {

// An interval; an open end is not part of it.
struct Range {
  float low = 0;
  float high = 0;
  bool low_open = false;
  bool high_open = false;

  // False for NaN, which compares false with everything.
  bool Has(float value) const {
    return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
  }
  std::string Text() const {
    return absl::StrCat("must be in ", low_open ? "(" : "[", low, ", ", high,
                        high_open ? ")" : "]");
  }
};

struct FloatParam {
  const char* field;
  std::optional<float> value;
  Range range;
};

absl::Status ValidateFloats(const ChatParams& params, const CallLimits& limits) {
  const Range penalty = {-limits.max_penalty, limits.max_penalty};
  const FloatParam table[] = {
      {"params.temperature", params.temperature, {0, limits.max_temperature}},
      {"params.top_p", params.top_p, {0, 1, /*low_open=*/true}},
      {"params.min_p", params.min_p, {0, 1, /*low_open=*/false, /*high_open=*/true}},
      {"params.repetition_penalty",
       params.repetition_penalty,
       {0, limits.max_repetition_penalty, /*low_open=*/true}},
      {"params.frequency_penalty", params.frequency_penalty, penalty},
      {"params.presence_penalty", params.presence_penalty, penalty},
  };
  for (const FloatParam& param : table) {
    if (param.value && !param.range.Has(*param.value)) {
      return InvalidField(param.field, param.range.Text());
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateStop(const ChatParams& params, const CallLimits& limits) {
  if (static_cast<int64_t>(params.stop.size()) > limits.max_stop_strings) {
    return InvalidField("params.stop",
                        absl::StrCat("may have at most ", limits.max_stop_strings, " strings"));
  }
  for (size_t i = 0; i < params.stop.size(); ++i) {
    const auto bytes = static_cast<int64_t>(params.stop[i].size());
    if (bytes < 1 || bytes > limits.max_stop_bytes) {
      return InvalidField(absl::StrCat("params.stop[", i, "]"),
                          absl::StrCat("must have 1 to ", limits.max_stop_bytes, " bytes"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateParams(const ChatParams& params, const ServedModel& model,
                            const CallLimits& limits) {
  if (params.max_tokens == 0u) return InvalidField("params.max_tokens", "must be at least 1");
  if (params.top_k && *params.top_k > model.vocab_size) {
    return InvalidField("params.top_k",
                        absl::StrCat("must be at most the vocabulary's ", model.vocab_size));
  }
  if (params.top_logprobs > limits.max_top_logprobs) {
    return InvalidField("params.top_logprobs",
                        absl::StrCat("must be at most ", limits.max_top_logprobs));
  }
  if (params.top_logprobs > 0 && !params.logprobs) {
    return InvalidField("params.top_logprobs", "needs params.logprobs");
  }
  if (absl::Status status = ValidateFloats(params, limits); !status.ok()) return status;
  return ValidateStop(params, limits);
}

SamplingParams CompleteParams(const ChatParams& params, const GenerationDefaults& defaults,
                              uint64_t random_seed) {
  SamplingParams sampling;
  sampling.temperature = params.temperature.value_or(defaults.temperature);
  sampling.top_p = params.top_p.value_or(defaults.top_p);
  sampling.top_k = static_cast<int32_t>(params.top_k.value_or(defaults.top_k));
  sampling.min_p = params.min_p.value_or(defaults.min_p);
  sampling.repetition_penalty = params.repetition_penalty.value_or(defaults.repetition_penalty);
  sampling.frequency_penalty = params.frequency_penalty.value_or(0.0f);
  sampling.presence_penalty = params.presence_penalty.value_or(0.0f);
  sampling.seed = params.seed.value_or(random_seed);
  sampling.logprobs = params.logprobs;
  sampling.top_logprobs = static_cast<int32_t>(params.top_logprobs);
  return sampling;
}

}  // namespace llavamini
