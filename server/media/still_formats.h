// One decoder per file format; still.cc has already chosen by the first bytes. Pure; safe from any
// thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/image/picture.h"
#include "server/media/still.h"

namespace llavamini {

absl::StatusOr<Picture> DecodeJpeg(std::string_view bytes, const MediaLimits& limits);
absl::StatusOr<Picture> DecodePng(std::string_view bytes, const MediaLimits& limits);
absl::StatusOr<Picture> DecodeWebp(std::string_view bytes, const MediaLimits& limits);

// Whether a header's size is within the limits: kCorrupt without pixels, kTooLarge past a limit.
absl::Status CheckPictureSize(int64_t width, int64_t height, const MediaLimits& limits);

// A black picture.
Picture NewPicture(int64_t width, int64_t height);

}  // namespace llavamini
