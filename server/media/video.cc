#include "server/media/video.h"

extern "C" {
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>
}

#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/media/video_stream.h"

namespace llavamini {
namespace {

struct ScalerDeleter {
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};

struct FrameDeleter {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
};

// A decoded frame as RGB by its own colour matrix and range; only the colour is converted.
class RgbConverter {
 public:
  // False without memory, or for pixels that cannot be converted.
  bool Convert(const AVFrame& frame, Picture& picture) {
    std::unique_ptr<AVFrame, FrameDeleter> rgb(av_frame_alloc());
    if (rgb == nullptr) return false;
    rgb->format = AV_PIX_FMT_RGB24;
    rgb->width = frame.width;
    rgb->height = frame.height;
    // libswscale may write up to the end of a padded row, so not into the picture itself.
    if (av_frame_get_buffer(rgb.get(), 0) < 0 || !SetUp(frame)) return false;
    if (sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, rgb->data,
                  rgb->linesize) != frame.height) {
      return false;
    }
    picture.width = frame.width;
    picture.height = frame.height;
    const int row_bytes = frame.width * 3;
    picture.rgb.resize(static_cast<size_t>(row_bytes) * static_cast<size_t>(frame.height));
    av_image_copy_plane(picture.rgb.data(), row_bytes, rgb->data[0], rgb->linesize[0], row_bytes,
                        frame.height);
    return true;
  }

 private:
  bool SetUp(const AVFrame& frame) {
    const auto format = static_cast<AVPixelFormat>(frame.format);
    scaler_.reset(sws_getCachedContext(scaler_.release(), frame.width, frame.height, format,
                                       frame.width, frame.height, AV_PIX_FMT_RGB24, SWS_BILINEAR,
                                       nullptr, nullptr, nullptr));
    if (scaler_ == nullptr) return false;
    const int* matrix = sws_getCoefficients(frame.colorspace);
    const int full_range = frame.color_range == AVCOL_RANGE_JPEG ? 1 : 0;
    // Refused for pixels that are RGB already, which need none.
    sws_setColorspaceDetails(scaler_.get(), matrix, full_range, matrix, /*dstRange=*/1,
                             /*brightness=*/0, /*contrast=*/1 << 16, /*saturation=*/1 << 16);
    return true;
  }

  std::unique_ptr<SwsContext, ScalerDeleter> scaler_;
};

absl::Status CheckLength(int64_t frames, const VideoStream& stream, const VideoLimits& limits) {
  if (frames < 1) return CorruptVideo();
  if (frames > limits.max_frames) {
    return MediaError(
        MediaFailure::kTooLarge,
        absl::StrCat("the video has ", frames, " frames; the limit is ", limits.max_frames));
  }
  return CheckDecodedPixels(frames * stream.width() * stream.height(), limits);
}

}  // namespace

absl::StatusOr<VideoFacts> InspectVideo(std::string_view bytes, const VideoLimits& limits,
                                        const StopCheck& stop) {
  const auto stream = VideoStream::Open(bytes, limits, stop);
  if (!stream.ok()) return stream.status();
  absl::StatusOr<int64_t> packets = (*stream)->CountPackets();
  if (!packets.ok()) return packets.status();
  if (absl::Status status = CheckLength(*packets, **stream, limits); !status.ok()) return status;
  if ((*stream)->CountsByPackets())
    return VideoFacts{*packets, (*stream)->FramesPerSecond(*packets)};
  const auto again = VideoStream::Open(bytes, limits, stop);
  if (!again.ok()) return again.status();
  int64_t frames = 0;
  const absl::Status decoded =
      (*again)->Decode([&](const AVFrame&) { return CheckLength(++frames, **again, limits); });
  if (!decoded.ok()) return decoded;
  if (frames == 0) return CorruptVideo();
  return VideoFacts{frames, (*again)->FramesPerSecond(frames)};
}

absl::Status DecodeFrames(std::string_view bytes, const VideoFacts& facts,
                          const std::vector<int64_t>& frames, const VideoLimits& limits,
                          const StopCheck& stop, const FrameSink& sink) {
  const auto stream = VideoStream::Open(bytes, limits, stop);
  if (!stream.ok()) return stream.status();
  RgbConverter converter;
  Picture picture;
  int64_t number = 0;
  size_t position = 0;
  absl::Status decoded = (*stream)->Decode([&](const AVFrame& frame) {
    if (number >= facts.frames) return CorruptVideo();
    const bool wanted = position < frames.size() && frames[position] == number;
    ++number;
    if (!wanted) return absl::OkStatus();
    if (!converter.Convert(frame, picture)) return CorruptVideo();
    for (; position < frames.size() && frames[position] == number - 1; ++position) {
      if (absl::Status status = sink(position, picture); !status.ok()) return status;
    }
    return absl::OkStatus();
  });
  if (!decoded.ok()) return decoded;
  return number == facts.frames ? absl::OkStatus() : CorruptVideo();
}

}  // namespace llavamini
