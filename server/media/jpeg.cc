// JPEG through libjpeg-turbo, with Pillow's settings. The library reports errors by longjmp: what
// runs under Guarded() holds only trivially destructible values.
#include <csetjmp>
#include <cstdio>
#include <memory>
#include <vector>

#include "server/media/still_formats.h"
// jpeglib.h needs size_t and FILE before it.
#include <jpeglib.h>
// The codes of its messages.
#include <jerror.h>

namespace llavamini {
namespace {

// Encoders write about ten scans; each costs a walk over the whole picture, however few bytes it
// has.
constexpr int kMaxScans = 100;

struct JpegDecoder {
  jpeg_decompress_struct info;  // first: the library's pointer to it is a pointer to this struct
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf failed;
  std::string_view bytes;
  MediaFailure failure;
  const char* message;
  bool in_scans;
  uint8_t* rgb;   // [height, width, 3]
  uint8_t* cmyk;  // one row of a picture with four components
};

[[noreturn]] void Fail(j_common_ptr info, MediaFailure failure, const char* message) {
  auto* decoder = reinterpret_cast<JpegDecoder*>(info);
  decoder->failure = failure;
  decoder->message = message;
  std::longjmp(decoder->failed, 1);
}

[[noreturn]] void OnError(j_common_ptr info) {
  switch (info->err->msg_code) {
    case JERR_IMAGE_TOO_BIG:
    case JERR_OUT_OF_MEMORY:
      Fail(info, MediaFailure::kTooLarge, "the JPEG is too large");
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_CCIR601_NOTIMPL:
    case JERR_COMPONENT_COUNT:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_SOF_UNSUPPORTED:
      Fail(info, MediaFailure::kUnsupported,
           "the JPEG is of a kind that is not served: only 8-bit sequential and progressive ones");
    default:
      Fail(info, MediaFailure::kCorrupt, "the JPEG is cut off or corrupt");
  }
}

// Warnings (level -1) mean that the library would make up pixels, a few harmless ones excepted.
void OnMessage(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
      return;
    case JWRN_EXTRANEOUS_DATA:
      if (!reinterpret_cast<JpegDecoder*>(info)->in_scans) return;
      break;
    default:
      break;
  }
  Fail(info, MediaFailure::kCorrupt, "the JPEG is cut off or corrupt");
}

void IgnoreOutput(j_common_ptr) {}

void CountScans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans) {
    Fail(info, MediaFailure::kUnsupported, "the JPEG has too many scans");
  }
}

bool Guarded(JpegDecoder& decoder, void (*step)(JpegDecoder&)) {
  if (setjmp(decoder.failed) != 0) return false;
  step(decoder);
  return true;
}

void ReadHeader(JpegDecoder& decoder) {
  jpeg_create_decompress(&decoder.info);
  decoder.info.progress = &decoder.progress;
  jpeg_mem_src(&decoder.info, reinterpret_cast<const uint8_t*>(decoder.bytes.data()),
               decoder.bytes.size());
  jpeg_read_header(&decoder.info, TRUE);
}

// Pillow's CMYK to RGB; Adobe's files hold the four inverted.
void CmykToRgb(const uint8_t* cmyk, int64_t pixels, uint8_t* rgb) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const int white = cmyk[pixel * 4 + 3];
    for (int64_t channel = 0; channel < 3; ++channel) {
      const int product = (255 - cmyk[pixel * 4 + channel]) * white + 128;
      rgb[pixel * 3 + channel] = static_cast<uint8_t>(white - (((product >> 8) + product) >> 8));
    }
  }
}

void ReadPixels(JpegDecoder& decoder) {
  jpeg_decompress_struct& info = decoder.info;
  decoder.in_scans = true;
  info.dct_method = JDCT_ISLOW;
  info.do_fancy_upsampling = TRUE;
  info.out_color_space = info.num_components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&info);
  const int64_t width = info.output_width;
  while (info.output_scanline < info.output_height) {
    uint8_t* rgb = decoder.rgb + int64_t{info.output_scanline} * width * 3;
    JSAMPROW row = info.num_components == 4 ? decoder.cmyk : rgb;
    jpeg_read_scanlines(&info, &row, 1);
    if (info.num_components == 4) CmykToRgb(row, width, rgb);
  }
  if (!jpeg_finish_decompress(&info)) {
    Fail(reinterpret_cast<j_common_ptr>(&info), MediaFailure::kCorrupt,
         "the JPEG is cut off or corrupt");
  }
}

absl::Status Failure(const JpegDecoder& decoder) {
  return MediaError(decoder.failure, decoder.message);
}

}  // namespace

absl::StatusOr<Picture> DecodeJpeg(std::string_view bytes, const MediaLimits& limits) {
  JpegDecoder decoder{};
  decoder.info.err = jpeg_std_error(&decoder.errors);
  decoder.errors.error_exit = OnError;
  decoder.errors.emit_message = OnMessage;
  decoder.errors.output_message = IgnoreOutput;
  decoder.progress.progress_monitor = CountScans;
  decoder.bytes = bytes;
  const std::unique_ptr<jpeg_decompress_struct, decltype(&jpeg_destroy_decompress)> owner(
      &decoder.info, jpeg_destroy_decompress);
  if (!Guarded(decoder, ReadHeader)) return Failure(decoder);
  const jpeg_decompress_struct& info = decoder.info;
  if (absl::Status size = CheckPictureSize(info.image_width, info.image_height, limits);
      !size.ok()) {
    return size;
  }
  if (info.num_components != 1 && info.num_components != 3 && info.num_components != 4) {
    return MediaError(MediaFailure::kUnsupported,
                      "the JPEG has neither one, three nor four components");
  }
  Picture picture = NewPicture(info.image_width, info.image_height);
  std::vector<uint8_t> cmyk(info.num_components == 4 ? size_t{info.image_width} * 4 : 0);
  decoder.rgb = picture.rgb.data();
  decoder.cmyk = cmyk.data();
  if (!Guarded(decoder, ReadPixels)) return Failure(decoder);
  return picture;
}

}  // namespace llavamini
