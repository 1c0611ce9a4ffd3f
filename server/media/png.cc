// PNG through libpng. The library reports errors by longjmp: what runs under Guarded() holds only
// trivially destructible values.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "server/media/still_formats.h"

namespace llavamini {
namespace {

constexpr size_t kHeaderBytes = 8 + 8 + 13 + 4;  // signature, then the chunk IHDR
constexpr size_t kLastRowSlack = 16 << 10;
constexpr size_t kMaxChunkMemory = 1 << 20;

struct PngDecoder {
  png_structp png;
  png_infop info;
  std::jmp_buf failed;
  std::string_view bytes;
  size_t offset;
  size_t end;  // reading past it fails
  int64_t width;
  int64_t height;
  uint8_t* rgb;  // [height, width, 3]
};

[[noreturn]] void OnError(png_structp png, png_const_charp) {
  std::longjmp(static_cast<PngDecoder*>(png_get_error_ptr(png))->failed, 1);
}

void OnWarning(png_structp, png_const_charp) {}

void ReadBytes(png_structp png, png_bytep out, size_t count) {
  auto* decoder = static_cast<PngDecoder*>(png_get_io_ptr(png));
  if (count > decoder->end - decoder->offset) png_error(png, "");
  std::memcpy(out, decoder->bytes.data() + decoder->offset, count);
  decoder->offset += count;
}

bool Guarded(PngDecoder& decoder, void (*step)(PngDecoder&)) {
  if (setjmp(decoder.failed) != 0) return false;
  step(decoder);
  return true;
}

// Colour profiles, texts and the like are skipped unread, so that none of them is decompressed;
// their checksums still count.
void ReadHeader(PngDecoder& decoder) {
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, OnError, OnWarning);
  if (decoder.png == nullptr) return;
  decoder.info = png_create_info_struct(decoder.png);
  if (decoder.info == nullptr) return;
  png_set_read_fn(decoder.png, &decoder, ReadBytes);
  png_set_crc_action(decoder.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_keep_unknown_chunks(decoder.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_set_chunk_malloc_max(decoder.png, kMaxChunkMemory);
  png_read_info(decoder.png, decoder.info);
}

// Rows come as RGB of 8 bits (of 16, the high byte), except grey ones of 16 bits.
bool IsGrey16(const PngDecoder& decoder) {
  return png_get_color_type(decoder.png, decoder.info) == PNG_COLOR_TYPE_GRAY &&
         png_get_bit_depth(decoder.png, decoder.info) == 16;
}

void AskForRgb(PngDecoder& decoder) {
  if (IsGrey16(decoder)) return;
  png_set_strip_16(decoder.png);
  png_set_strip_alpha(decoder.png);
  const int colour = png_get_color_type(decoder.png, decoder.info);
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(decoder.png);
  if (colour == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(decoder.png);
  if ((colour & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(decoder.png);
}

// Pillow clips 16-bit grey at 255. In place, from the right.
void ClipGrey16(int64_t width, uint8_t* row) {
  for (int64_t column = width - 1; column >= 0; --column) {
    const uint8_t grey = row[column * 2] != 0 ? 255 : row[column * 2 + 1];
    std::fill_n(row + column * 3, 3, grey);
  }
}

// With the last row the library also inflates whatever follows it in the stream: that is bounded
// here, else a small file could hold gigabytes there.
void ReadPixels(PngDecoder& decoder) {
  const bool grey16 = IsGrey16(decoder);
  AskForRgb(decoder);
  const int passes = png_set_interlace_handling(decoder.png);
  png_read_update_info(decoder.png, decoder.info);
  const auto row_bytes = static_cast<int64_t>(png_get_rowbytes(decoder.png, decoder.info));
  if (row_bytes != decoder.width * (grey16 ? 2 : 3)) png_error(decoder.png, "");
  for (int pass = 0; pass < passes; ++pass) {
    for (int64_t row = 0; row < decoder.height; ++row) {
      if (pass == passes - 1 && row == decoder.height - 1) {
        const size_t last_row = static_cast<size_t>(decoder.width) * 8 + kLastRowSlack;
        decoder.end = std::min(decoder.bytes.size(), decoder.offset + last_row);
      }
      png_read_row(decoder.png, decoder.rgb + row * decoder.width * 3, nullptr);
    }
  }
  decoder.end = decoder.bytes.size();
  png_read_end(decoder.png, nullptr);
  for (int64_t row = 0; grey16 && row < decoder.height; ++row) {
    ClipGrey16(decoder.width, decoder.rgb + row * decoder.width * 3);
  }
}

int64_t BigEndian32(std::string_view bytes, size_t offset) {
  int64_t value = 0;
  for (const char byte : bytes.substr(offset, 4)) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

absl::StatusOr<Picture> DecodeInto(PngDecoder& decoder, const MediaLimits& limits) {
  const absl::Status corrupt = MediaError(MediaFailure::kCorrupt, "the PNG is cut off or corrupt");
  if (decoder.bytes.size() < kHeaderBytes || decoder.bytes.substr(12, 4) != "IHDR") return corrupt;
  decoder.width = BigEndian32(decoder.bytes, 16);
  decoder.height = BigEndian32(decoder.bytes, 20);
  if (absl::Status size = CheckPictureSize(decoder.width, decoder.height, limits); !size.ok()) {
    return size;
  }
  if (!Guarded(decoder, ReadHeader) || decoder.info == nullptr) return corrupt;
  Picture picture = NewPicture(decoder.width, decoder.height);
  decoder.rgb = picture.rgb.data();
  if (!Guarded(decoder, ReadPixels)) return corrupt;
  return picture;
}

}  // namespace

absl::StatusOr<Picture> DecodePng(std::string_view bytes, const MediaLimits& limits) {
  PngDecoder decoder{};
  decoder.bytes = bytes;
  decoder.end = bytes.size();
  absl::StatusOr<Picture> picture = DecodeInto(decoder, limits);
  png_destroy_read_struct(&decoder.png, &decoder.info, nullptr);
  return picture;
}

}  // namespace llavamini
