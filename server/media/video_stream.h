// The one place that talks to libavformat and libavcodec: a video file in memory as packets and
// decoded frames. Called by video.cc; one object belongs to one thread.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/media/video.h"
#include "server/media/video_container.h"

namespace llavamini {

// One of the three refusals (media_error.h): cut off or corrupt.
absl::Status CorruptVideo();

// kTooLarge or kCorrupt unless a frame of this size is within the limits.
absl::Status CheckFrameSize(int64_t width, int64_t height, const VideoLimits& limits);

// kTooLarge unless so many pixels may be decoded of one file.
absl::Status CheckDecodedPixels(int64_t pixels, const VideoLimits& limits);

class VideoStream {
 public:
  // `bytes`, `limits` and `stop` outlive the stream. The file's size, kind, outermost lengths,
  // codec and frame size have been checked when this succeeds.
  static absl::StatusOr<std::unique_ptr<VideoStream>> Open(std::string_view bytes,
                                                           const VideoLimits& limits,
                                                           const StopCheck& stop);

  // Every packet whose frame is shown, from the current place on.
  absl::StatusOr<int64_t> CountPackets();
  // Decodes from the current place on; `sink` sees every shown frame in order.
  absl::Status Decode(const std::function<absl::Status(const AVFrame&)>& sink);

  // Whether each packet that CountPackets counts gives exactly one frame.
  bool CountsByPackets() const;
  double FramesPerSecond(int64_t frames) const;  // > 0
  int64_t width() const { return stream_->codecpar->width; }
  int64_t height() const { return stream_->codecpar->height; }

 private:
  struct FormatDeleter {
    void operator()(AVFormatContext* format) const;
  };
  struct DecoderDeleter {
    void operator()(AVCodecContext* decoder) const { avcodec_free_context(&decoder); }
  };

  VideoStream(std::string_view bytes, const VideoLimits& limits, const StopCheck& stop)
      : bytes_(bytes), limits_(limits), stop_(stop) {}

  static int Read(void* opaque, uint8_t* buffer, int size);
  static int64_t Seek(void* opaque, int64_t offset, int whence);
  static int Interrupted(void* opaque);

  absl::Status OpenFormat();
  absl::Status ChooseStream();
  absl::Status CheckIndex();
  absl::Status OpenDecoder();
  absl::Status Failure() const;  // the StopCheck's status, else corrupt
  // False at the end of the file.
  absl::StatusOr<bool> NextPacket(AVPacket& packet);
  absl::Status Feed(const AVPacket* packet, AVFrame& frame,
                    const std::function<absl::Status(const AVFrame&)>& sink);

  const std::string_view bytes_;
  const VideoLimits& limits_;
  const StopCheck& stop_;
  int64_t offset_ = 0;
  int64_t decoded_pixels_ = 0;
  VideoContainer container_ = VideoContainer::kMov;
  std::unique_ptr<AVFormatContext, FormatDeleter> format_;
  std::unique_ptr<AVCodecContext, DecoderDeleter> decoder_;
  AVStream* stream_ = nullptr;  // format_'s
};

}  // namespace llavamini
