#include "server/media/still.h"

#include "absl/strings/str_cat.h"
#include "server/media/still_formats.h"

namespace llavamini {
namespace {

constexpr std::string_view kJpegStart = "\xFF\xD8\xFF";
constexpr std::string_view kPngStart = "\x89PNG\r\n\x1A\n";
constexpr std::string_view kRiffStart = "RIFF";
constexpr std::string_view kWebpName = "WEBP";  // after RIFF and four bytes of length

}  // namespace

absl::Status CheckPictureSize(int64_t width, int64_t height, const MediaLimits& limits) {
  if (width < 1 || height < 1) {
    return MediaError(MediaFailure::kCorrupt, "the picture has no pixels");
  }
  if (width > limits.max_side || height > limits.max_side) {
    return MediaError(MediaFailure::kTooLarge,
                      absl::StrCat("the picture is ", width, "x", height, " pixels; the limit is ",
                                   limits.max_side, " a side"));
  }
  if (width * height > limits.max_pixels) {
    return MediaError(MediaFailure::kTooLarge,
                      absl::StrCat("the picture is ", width, "x", height, " pixels; the limit is ",
                                   limits.max_pixels, " in all"));
  }
  return absl::OkStatus();
}

Picture NewPicture(int64_t width, int64_t height) {
  return {static_cast<int>(width), static_cast<int>(height),
          std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
}

absl::StatusOr<Picture> DecodeStill(std::string_view bytes, const MediaLimits& limits) {
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    return MediaError(
        MediaFailure::kTooLarge,
        absl::StrCat("the image has ", bytes.size(), " bytes; the limit is ", limits.max_bytes));
  }
  if (bytes.substr(0, kJpegStart.size()) == kJpegStart) return DecodeJpeg(bytes, limits);
  if (bytes.substr(0, kPngStart.size()) == kPngStart) return DecodePng(bytes, limits);
  if (bytes.size() >= 12 && bytes.substr(0, 4) == kRiffStart && bytes.substr(8, 4) == kWebpName) {
    return DecodeWebp(bytes, limits);
  }
  return MediaError(MediaFailure::kUnsupported, "the image is not a JPEG, PNG or WebP file");
}

}  // namespace llavamini
