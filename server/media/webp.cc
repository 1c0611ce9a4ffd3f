// WebP through libwebp: a still picture, or the first frame of an animation on its canvas.
#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "server/media/still_formats.h"

namespace llavamini {
namespace {

// The longest of the three kinds of header, RIFF's included: enough to know the size.
constexpr size_t kHeaderBytes = 30;

absl::Status Corrupt() {
  return MediaError(MediaFailure::kCorrupt, "the WebP is cut off or corrupt");
}

const uint8_t* Unsigned(std::string_view bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

// The frame's own bit stream must have the size that the container gives it, inside the canvas.
bool FrameFits(const WebPIterator& frame, const Picture& canvas) {
  WebPBitstreamFeatures features;
  return WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &features) == VP8_STATUS_OK &&
         features.width == frame.width && features.height == frame.height && frame.x_offset >= 0 &&
         frame.y_offset >= 0 && frame.width <= canvas.width - frame.x_offset &&
         frame.height <= canvas.height - frame.y_offset;
}

// Alpha is dropped, not blended, as Pillow does; outside the frame the canvas stays black.
bool DrawFrame(const WebPIterator& frame, Picture& canvas) {
  if (!frame.complete || !FrameFits(frame, canvas)) return false;
  const int stride = canvas.width * 3;
  const size_t start = static_cast<size_t>(frame.y_offset) * static_cast<size_t>(stride) +
                       static_cast<size_t>(frame.x_offset) * 3;
  return WebPDecodeRGBInto(frame.fragment.bytes, frame.fragment.size, canvas.rgb.data() + start,
                           canvas.rgb.size() - start, stride) != nullptr;
}

}  // namespace

absl::StatusOr<Picture> DecodeWebp(std::string_view bytes, const MediaLimits& limits) {
  WebPBitstreamFeatures features;
  const std::string_view header = bytes.substr(0, kHeaderBytes);
  if (WebPGetFeatures(Unsigned(header), header.size(), &features) != VP8_STATUS_OK) {
    return Corrupt();
  }
  if (absl::Status size = CheckPictureSize(features.width, features.height, limits); !size.ok()) {
    return size;
  }
  const WebPData data{Unsigned(bytes), bytes.size()};
  const std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demuxer(WebPDemux(&data),
                                                                         WebPDemuxDelete);
  if (demuxer == nullptr) return Corrupt();
  const auto width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const auto height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  if (absl::Status size = CheckPictureSize(width, height, limits); !size.ok()) return size;
  WebPIterator frame;
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) return Corrupt();
  Picture picture = NewPicture(width, height);
  const bool drawn = DrawFrame(frame, picture);
  WebPDemuxReleaseIterator(&frame);
  if (!drawn) return Corrupt();
  return picture;
}

}  // namespace llavamini
