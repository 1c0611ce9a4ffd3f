// What the engine makes of a failed call of the model.
#pragma once

#include "absl/status/status.h"

namespace llavamini {

// Only these codes leave a model's call: RESOURCE_EXHAUSTED, ABORTED (the device is lost) and
// INTERNAL.
inline absl::Status ModelFailure(const absl::Status& status) {
  if (absl::IsResourceExhausted(status) || absl::IsAborted(status)) return status;
  return absl::InternalError(status.message());
}

}  // namespace llavamini
