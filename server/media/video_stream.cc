#include "server/media/video_stream.h"

extern "C" {
#include <libavutil/avstring.h>
#include <libavutil/dict.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>
}

#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"

namespace llavamini {
namespace {

constexpr int kReadBytes = 1 << 16;
// Of one allocation: a file's header may not make the demuxer or decoder take more.
constexpr size_t kMaxAllocation = 256 << 20;
constexpr char kDecoders[] = "h264,hevc,vp8,vp9,libdav1d,mpeg4,mpeg2video,mjpeg";

void Silent(void*, int, const char*, va_list) {}

void SetUpOnce() {
  static std::once_flag done;
  std::call_once(done, [] {
    av_log_set_callback(Silent);
    av_max_alloc(kMaxAllocation);
  });
}

bool IsAllowed(const char* decoder) { return av_match_list(decoder, kDecoders, ',') > 0; }

const char* DemuxerOf(VideoContainer container) {
  if (container == VideoContainer::kMatroska) return "matroska";
  return container == VideoContainer::kAvi ? "avi" : "mov";
}

int RefuseToOpen(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) {
  return AVERROR(EACCES);
}

class Options {
 public:
  Options() = default;
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;
  ~Options() { av_dict_free(&dictionary_); }
  void Set(const char* name, const char* value) { av_dict_set(&dictionary_, name, value, 0); }
  void Set(const char* name, int64_t value) { av_dict_set_int(&dictionary_, name, value, 0); }
  AVDictionary** get() { return &dictionary_; }

 private:
  AVDictionary* dictionary_ = nullptr;
};

}  // namespace

absl::Status CorruptVideo() {
  return MediaError(MediaFailure::kCorrupt, "the video is cut off or corrupt");
}

absl::Status CheckFrameSize(int64_t width, int64_t height, const VideoLimits& limits) {
  if (width < 1 || height < 1) return CorruptVideo();
  if (width > limits.max_side || height > limits.max_side || width * height > limits.max_pixels) {
    return MediaError(
        MediaFailure::kTooLarge,
        absl::StrCat("the video's frames are ", width, "x", height, " pixels; the limit is ",
                     limits.max_side, " a side and ", limits.max_pixels, " in all"));
  }
  return absl::OkStatus();
}

absl::Status CheckDecodedPixels(int64_t pixels, const VideoLimits& limits) {
  if (pixels <= limits.max_decoded_pixels) return absl::OkStatus();
  return MediaError(MediaFailure::kTooLarge,
                    absl::StrCat("the video's frames have more pixels together than the limit of ",
                                 limits.max_decoded_pixels));
}

void VideoStream::FormatDeleter::operator()(AVFormatContext* format) const {
  AVIOContext* io = format->pb;
  avformat_close_input(&format);
  if (io != nullptr) av_freep(&io->buffer);
  avio_context_free(&io);
}

int VideoStream::Read(void* opaque, uint8_t* buffer, int size) {
  auto* self = static_cast<VideoStream*>(opaque);
  const int64_t left = static_cast<int64_t>(self->bytes_.size()) - self->offset_;
  const int64_t count = std::min<int64_t>(left, size);
  if (count <= 0) return AVERROR_EOF;
  std::memcpy(buffer, self->bytes_.data() + self->offset_, static_cast<size_t>(count));
  self->offset_ += count;
  return static_cast<int>(count);
}

int64_t VideoStream::Seek(void* opaque, int64_t offset, int whence) {
  auto* self = static_cast<VideoStream*>(opaque);
  const auto size = static_cast<int64_t>(self->bytes_.size());
  const int origin = whence & ~AVSEEK_FORCE;
  if (origin == AVSEEK_SIZE) return size;
  if (origin == SEEK_CUR && offset <= size) offset += self->offset_;
  if (origin == SEEK_END && offset <= 0) offset += size;
  if (offset < 0 || offset > size) return AVERROR(EINVAL);
  self->offset_ = offset;
  return offset;
}

int VideoStream::Interrupted(void* opaque) {
  return static_cast<VideoStream*>(opaque)->stop_().ok() ? 0 : 1;
}

absl::Status VideoStream::Failure() const {
  absl::Status stopped = stop_();
  return stopped.ok() ? CorruptVideo() : stopped;
}

absl::StatusOr<std::unique_ptr<VideoStream>> VideoStream::Open(std::string_view bytes,
                                                               const VideoLimits& limits,
                                                               const StopCheck& stop) {
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    return MediaError(
        MediaFailure::kTooLarge,
        absl::StrCat("the video has ", bytes.size(), " bytes; the limit is ", limits.max_bytes));
  }
  const std::optional<VideoContainer> container = VideoContainerOf(bytes);
  if (!container) {
    return MediaError(MediaFailure::kUnsupported,
                      "the video is not an MP4, MOV, MKV, WebM or AVI file");
  }
  if (IsCutOff(bytes, *container)) return CorruptVideo();
  SetUpOnce();
  std::unique_ptr<VideoStream> stream(new VideoStream(bytes, limits, stop));
  stream->container_ = *container;
  using Step = absl::Status (VideoStream::*)();
  for (const Step step : {&VideoStream::OpenFormat, &VideoStream::ChooseStream,
                          &VideoStream::CheckIndex, &VideoStream::OpenDecoder}) {
    if (absl::Status status = (stream.get()->*step)(); !status.ok()) return status;
  }
  return stream;
}

absl::Status VideoStream::OpenFormat() {
  AVFormatContext* format = avformat_alloc_context();
  auto* buffer = static_cast<uint8_t*>(av_malloc(kReadBytes));
  AVIOContext* io = avio_alloc_context(buffer, kReadBytes, 0, this, &Read, nullptr, &Seek);
  if (format == nullptr || buffer == nullptr || io == nullptr) {
    avformat_free_context(format);
    if (io == nullptr) av_free(buffer);
    avio_context_free(&io);
    return absl::ResourceExhaustedError("no memory to read the video");
  }
  format_.reset(format);
  format->pb = io;
  format->flags |= AVFMT_FLAG_CUSTOM_IO;
  format->io_open = &RefuseToOpen;
  format->interrupt_callback = {&Interrupted, this};
  Options options;
  options.Set("protocol_whitelist", "");
  options.Set("format_whitelist", "mov,matroska,avi");
  options.Set("codec_whitelist", kDecoders);
  options.Set("max_streams", 64);
  // Owns the format until it succeeds: on failure libavformat frees it, but not its AVIOContext.
  AVFormatContext* opened = format_.release();
  const AVInputFormat* demuxer = av_find_input_format(DemuxerOf(container_));
  if (avformat_open_input(&opened, "", demuxer, options.get()) < 0) {
    av_freep(&io->buffer);
    avio_context_free(&io);
    return Failure();
  }
  format_.reset(opened);
  return absl::OkStatus();
}

absl::Status VideoStream::ChooseStream() {
  // The first video that is no cover picture.
  for (unsigned int i = 0; i < format_->nb_streams; ++i) {
    AVStream* stream = format_->streams[i];
    if (stream_ == nullptr && stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
        (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) == 0) {
      stream_ = stream;
    }
  }
  if (stream_ == nullptr) {
    return MediaError(MediaFailure::kUnsupported, "the file has no video");
  }
  // Before anything is decoded, where the container tells the size.
  if (width() > 0 && height() > 0) {
    if (absl::Status size = CheckFrameSize(width(), height(), limits_); !size.ok()) return size;
  }
  std::vector<Options> options(format_->nb_streams);
  std::vector<AVDictionary*> dictionaries;
  for (Options& of_stream : options) {
    of_stream.Set("max_pixels", limits_.max_pixels);
    dictionaries.push_back(*of_stream.get());
  }
  const int found = avformat_find_stream_info(format_.get(), dictionaries.data());
  for (size_t i = 0; i < options.size(); ++i) *options[i].get() = dictionaries[i];
  if (found < 0) return Failure();
  for (unsigned int i = 0; i < format_->nb_streams; ++i) {
    if (format_->streams[i] != stream_) format_->streams[i]->discard = AVDISCARD_ALL;
  }
  return absl::OkStatus();
}

absl::Status VideoStream::CheckIndex() {
  if (container_ != VideoContainer::kMov) return absl::OkStatus();
  const auto size = static_cast<int64_t>(bytes_.size());
  for (int i = 0; i < avformat_index_get_entries_count(stream_); ++i) {
    const AVIndexEntry* entry = avformat_index_get_entry(stream_, i);
    if (entry->pos < 0 || entry->size > size - entry->pos) return CorruptVideo();
  }
  return absl::OkStatus();
}

absl::Status VideoStream::OpenDecoder() {
  const AVCodec* codec = avcodec_find_decoder(stream_->codecpar->codec_id);
  if (codec == nullptr || !IsAllowed(codec->name)) {
    return MediaError(MediaFailure::kUnsupported,
                      "the video's codec is none of H.264, HEVC, VP8, VP9, AV1, MPEG-4, MPEG-2 and "
                      "Motion JPEG");
  }
  if (absl::Status size = CheckFrameSize(width(), height(), limits_); !size.ok()) return size;
  decoder_.reset(avcodec_alloc_context3(codec));
  if (decoder_ == nullptr || avcodec_parameters_to_context(decoder_.get(), stream_->codecpar) < 0) {
    return Failure();
  }
  decoder_->pkt_timebase = stream_->time_base;
  decoder_->thread_count = 1;
  decoder_->max_pixels = limits_.max_pixels;
  Options options;
  options.Set("codec_whitelist", kDecoders);
  return avcodec_open2(decoder_.get(), codec, options.get()) < 0 ? Failure() : absl::OkStatus();
}

}  // namespace llavamini
