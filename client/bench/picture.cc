#include "client/bench/picture.h"

// jpeglib.h needs size_t and FILE declared before it.
#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>
#include <vector>

namespace llavamini::bench {
namespace {

constexpr int kGrid = 12;  // random colours across a picture; between them they blend
constexpr int kJpegQuality = 85;
constexpr std::string_view kCommentStart = "llavamini-bench ";
constexpr std::string_view kPngKeyword{"Comment\0", 8};
constexpr size_t kPngHeaderEnd = 33;  // signature and IHDR

std::string Comment() { return std::string(kCommentStart) + std::string(kStampDigits, '0'); }

// [height, width, 3], interleaved RGB.
std::vector<uint8_t> SmoothPixels(PictureSize size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> grid((kGrid + 1) * (kGrid + 1) * 3);
  for (float& value : grid) value = static_cast<float>(random() & 0xff);
  std::vector<uint8_t> pixels(static_cast<size_t>(size.width) * size.height * 3);
  size_t at = 0;
  for (int y = 0; y < size.height; ++y) {
    const float grid_y = static_cast<float>(y) * kGrid / static_cast<float>(size.height);
    const int row = static_cast<int>(grid_y);
    const float down = grid_y - static_cast<float>(row);
    for (int x = 0; x < size.width; ++x) {
      const float grid_x = static_cast<float>(x) * kGrid / static_cast<float>(size.width);
      const int column = static_cast<int>(grid_x);
      const float right = grid_x - static_cast<float>(column);
      const float* corner = &grid[(row * (kGrid + 1) + column) * 3];
      const float* below = corner + (kGrid + 1) * 3;
      for (int channel = 0; channel < 3; ++channel) {
        const float upper = std::lerp(corner[channel], corner[channel + 3], right);
        const float lower = std::lerp(below[channel], below[channel + 3], right);
        pixels[at++] = static_cast<uint8_t>(std::lerp(upper, lower, down));
      }
    }
  }
  return pixels;
}

std::string EncodeJpeg(PictureSize size, std::vector<uint8_t>& pixels) {
  jpeg_error_mgr errors;
  jpeg_compress_struct encoder;
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  unsigned char* buffer = nullptr;
  unsigned long length = 0;  // NOLINT(google-runtime-int): libjpeg's type
  jpeg_mem_dest(&encoder, &buffer, &length);
  encoder.image_width = static_cast<JDIMENSION>(size.width);
  encoder.image_height = static_cast<JDIMENSION>(size.height);
  encoder.input_components = 3;
  encoder.in_color_space = JCS_RGB;
  jpeg_set_defaults(&encoder);
  jpeg_set_quality(&encoder, kJpegQuality, /*force_baseline=*/TRUE);
  jpeg_start_compress(&encoder, /*write_all_tables=*/TRUE);
  const std::string comment = Comment();
  jpeg_write_marker(&encoder, JPEG_COM, reinterpret_cast<const JOCTET*>(comment.data()),
                    static_cast<unsigned>(comment.size()));
  while (encoder.next_scanline < encoder.image_height) {
    JSAMPROW row = &pixels[static_cast<size_t>(encoder.next_scanline) * size.width * 3];
    jpeg_write_scanlines(&encoder, &row, 1);
  }
  jpeg_finish_compress(&encoder);
  jpeg_destroy_compress(&encoder);
  std::string bytes(reinterpret_cast<const char*>(buffer), length);
  std::free(buffer);
  return bytes;
}

void PutBigEndian(uint32_t value, char* at) {
  for (int byte = 0; byte < 4; ++byte) at[byte] = static_cast<char>(value >> (24 - 8 * byte));
}

// The text chunk's type and data begin at `type_at`; its checksum follows them.
void WriteChecksum(size_t type_at, std::string* bytes) {
  const size_t length = 4 + kPngKeyword.size() + kCommentStart.size() + kStampDigits;
  const auto* checked = reinterpret_cast<const Bytef*>(bytes->data() + type_at);
  PutBigEndian(static_cast<uint32_t>(crc32(0, checked, static_cast<uInt>(length))),
               bytes->data() + type_at + length);
}

std::string EncodePng(PictureSize size, const std::vector<uint8_t>& pixels) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(size.width);
  image.height = static_cast<png_uint_32>(size.height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t length = 0;
  std::string bytes;
  // Once for the length, once for the bytes.
  for (int pass = 0; pass < 2; ++pass) {
    bytes.resize(length);
    if (png_image_write_to_memory(&image, pass == 0 ? nullptr : bytes.data(), &length, 0,
                                  pixels.data(), 0, nullptr) == 0) {
      std::abort();  // only for want of memory: the picture's shape is right
    }
  }
  const std::string comment = Comment();
  std::string chunk(4, '\0');
  PutBigEndian(static_cast<uint32_t>(kPngKeyword.size() + comment.size()), chunk.data());
  chunk.append("tEXt").append(kPngKeyword).append(comment).append(4, '\0');
  bytes.insert(kPngHeaderEnd, chunk);
  WriteChecksum(kPngHeaderEnd + 4, &bytes);
  return bytes;
}

void WriteHex(uint64_t value, char* at) {
  for (int digit = 0; digit < 16; ++digit) {
    at[digit] = "0123456789abcdef"[(value >> (60 - 4 * digit)) & 0xf];
  }
}

}  // namespace

StampablePicture MakePicture(PictureFormat format, PictureSize size, uint64_t seed) {
  std::vector<uint8_t> pixels = SmoothPixels(size, seed);
  StampablePicture picture{
      .bytes = format == PictureFormat::kJpeg ? EncodeJpeg(size, pixels) : EncodePng(size, pixels),
      .format = format};
  picture.stamp_at = picture.bytes.find(kCommentStart) + kCommentStart.size();
  return picture;
}

void Stamp(const StampablePicture& picture, uint64_t run, uint64_t number, std::string* bytes) {
  WriteHex(run, bytes->data() + picture.stamp_at);
  WriteHex(number, bytes->data() + picture.stamp_at + 16);
  if (picture.format == PictureFormat::kPng) WriteChecksum(kPngHeaderEnd + 4, bytes);
}

}  // namespace llavamini::bench
