// The three ways in which media from outside is refused, as statuses that carry the reason.
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/status.h"

namespace llavamini {

enum class MediaFailure { kUnsupported, kCorrupt, kTooLarge };

// INVALID_ARGUMENT with the failure attached as a payload.
absl::Status MediaError(MediaFailure failure, std::string_view message);

// The failure that a status carries, if it came from MediaError.
std::optional<MediaFailure> MediaFailureOf(const absl::Status& status);

}  // namespace llavamini
