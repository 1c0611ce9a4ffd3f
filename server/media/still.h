// Bytes of a still image from outside -> pixels, exactly those of PIL's convert("RGB"). Pure; safe
// from any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/image/picture.h"
#include "server/media/media_error.h"

namespace llavamini {

struct MediaLimits {
  int64_t max_bytes = 10 << 20;
  int64_t max_pixels = 16'700'000;
  int64_t max_side = 16'384;
};

// JPEG, PNG or WebP by its bytes. The limits are checked from the header before any pixel is
// decoded. Errors carry a MediaFailure (media_error.h); their text never holds decoder text or
// content.
absl::StatusOr<Picture> DecodeStill(std::string_view bytes, const MediaLimits& limits);

}  // namespace llavamini
