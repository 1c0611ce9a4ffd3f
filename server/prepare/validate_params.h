// Checks and completes the parameters of a call. Pure; safe from any thread.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "model/model.h"
#include "server/prepare/chat_call.h"
#include "server/prepare/served_model.h"

namespace llavamini {

// INVALID_ARGUMENT names the first parameter that is out of its range and the range.
absl::Status ValidateParams(const ChatParams& params, const ServedModel& model,
                            const CallLimits& limits);

// The parameters in force: what the call leaves out comes from the checkpoint's defaults;
// `random_seed` is used without a seed.
SamplingParams CompleteParams(const ChatParams& params, const GenerationDefaults& defaults,
                              uint64_t random_seed);

}  // namespace llavamini
