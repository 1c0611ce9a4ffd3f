#include "server/media/media_error.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace llavamini {
namespace {

constexpr absl::string_view kPayloadName = "llavamini/media-failure";

}  // namespace

absl::Status MediaError(MediaFailure failure, std::string_view message) {
  absl::Status status =
      absl::InvalidArgumentError(absl::string_view(message.data(), message.size()));
  status.SetPayload(kPayloadName, absl::Cord(std::to_string(static_cast<int>(failure))));
  return status;
}

std::optional<MediaFailure> MediaFailureOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayloadName);
  if (!payload.has_value()) return std::nullopt;
  for (const MediaFailure failure :
       {MediaFailure::kUnsupported, MediaFailure::kCorrupt, MediaFailure::kTooLarge}) {
    if (*payload == std::to_string(static_cast<int>(failure))) return failure;
  }
  return std::nullopt;
}

}  // namespace llavamini
