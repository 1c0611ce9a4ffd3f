// Going through a video's packets: counting and decoding.
#include "server/media/video_stream.h"

namespace llavamini {
namespace {

struct PacketDeleter {
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
};
struct FrameDeleter {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
};
using PacketPointer = std::unique_ptr<AVPacket, PacketDeleter>;
using FramePointer = std::unique_ptr<AVFrame, FrameDeleter>;

constexpr int kDamage = FF_DECODE_ERROR_INVALID_BITSTREAM | FF_DECODE_ERROR_CONCEALMENT_ACTIVE |
                        FF_DECODE_ERROR_DECODE_SLICES;

// Others only refer to the rest: the container marks them, or a VP8 frame's header has no
// show_frame bit.
bool IsShown(const AVPacket& packet, AVCodecID codec) {
  if ((packet.flags & AV_PKT_FLAG_DISCARD) != 0) return false;
  return codec != AV_CODEC_ID_VP8 || packet.size < 1 || (packet.data[0] & 0x10) != 0;
}

absl::Status NoMemory() { return absl::ResourceExhaustedError("no memory to decode the video"); }

double Ratio(AVRational ratio) {
  return ratio.num > 0 && ratio.den > 0 ? static_cast<double>(ratio.num) / ratio.den : 0;
}

}  // namespace

absl::StatusOr<bool> VideoStream::NextPacket(AVPacket& packet) {
  while (true) {
    av_packet_unref(&packet);
    if (absl::Status stopped = stop_(); !stopped.ok()) return stopped;
    const int result = av_read_frame(format_.get(), &packet);
    if (result == AVERROR_EOF) return false;
    if (result < 0 || (packet.flags & AV_PKT_FLAG_CORRUPT) != 0) return Failure();
    if (packet.stream_index == stream_->index) return true;
  }
}

absl::StatusOr<int64_t> VideoStream::CountPackets() {
  const PacketPointer packet(av_packet_alloc());
  if (packet == nullptr) return NoMemory();
  int64_t all = 0;
  int64_t shown = 0;
  while (true) {
    const absl::StatusOr<bool> more = NextPacket(*packet);
    if (!more.ok()) return more.status();
    if (!*more) break;
    ++all;
    if (IsShown(*packet, stream_->codecpar->codec_id)) ++shown;
  }
  if (container_ == VideoContainer::kAvi && all < stream_->nb_frames) return CorruptVideo();
  return shown;
}

absl::Status VideoStream::Feed(const AVPacket* packet, AVFrame& frame,
                               const std::function<absl::Status(const AVFrame&)>& sink) {
  if (avcodec_send_packet(decoder_.get(), packet) < 0) return Failure();
  while (true) {
    const int result = avcodec_receive_frame(decoder_.get(), &frame);
    if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return absl::OkStatus();
    if (result < 0 || (frame.decode_error_flags & kDamage) != 0) return Failure();
    if (absl::Status status = CheckFrameSize(frame.width, frame.height, limits_); !status.ok()) {
      return status;
    }
    decoded_pixels_ += int64_t{frame.width} * frame.height;  // its size may change on the way
    if (absl::Status status = CheckDecodedPixels(decoded_pixels_, limits_); !status.ok()) {
      return status;
    }
    if (absl::Status status = sink(frame); !status.ok()) return status;
  }
}

absl::Status VideoStream::Decode(const std::function<absl::Status(const AVFrame&)>& sink) {
  const PacketPointer packet(av_packet_alloc());
  const FramePointer frame(av_frame_alloc());
  if (packet == nullptr || frame == nullptr) return NoMemory();
  while (true) {
    const absl::StatusOr<bool> more = NextPacket(*packet);
    if (!more.ok()) return more.status();
    if (!*more) break;
    if (packet->size == 0) continue;  // AVI's "as before"; null data would end the decoding
    if (absl::Status status = Feed(packet.get(), *frame, sink); !status.ok()) return status;
  }
  return Feed(nullptr, *frame, sink);
}

bool VideoStream::CountsByPackets() const {
  switch (stream_->codecpar->codec_id) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_VP8:
    case AV_CODEC_ID_VP9:
    case AV_CODEC_ID_AV1:
    case AV_CODEC_ID_MJPEG:
      return container_ != VideoContainer::kAvi;
    default:
      return false;
  }
}

double VideoStream::FramesPerSecond(int64_t frames) const {
  if (const double average = Ratio(stream_->avg_frame_rate); average > 0) return average;
  const double seconds = static_cast<double>(format_->duration) / static_cast<double>(AV_TIME_BASE);
  const auto count = static_cast<double>(frames);
  return seconds > 0 ? count / seconds : count;  // of unknown length: one second
}

}  // namespace llavamini
