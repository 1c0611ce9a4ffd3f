#include "client/bench/picture.h"

#include <jpeglib.h>
#include <png.h>

#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace llavamini::bench {
namespace {

// Decoded by libjpeg; warnings counts what it complained about.
std::vector<uint8_t> DecodeJpeg(const std::string& bytes, PictureSize* size, long* warnings) {
  jpeg_error_mgr errors;
  jpeg_decompress_struct decoder;
  decoder.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&decoder);
  jpeg_mem_src(&decoder, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&decoder, TRUE);
  jpeg_start_decompress(&decoder);
  *size = {.width = static_cast<int>(decoder.output_width),
           .height = static_cast<int>(decoder.output_height)};
  std::vector<uint8_t> pixels(size_t{decoder.output_width} * decoder.output_height * 3);
  while (decoder.output_scanline < decoder.output_height) {
    JSAMPROW row = &pixels[size_t{decoder.output_scanline} * decoder.output_width * 3];
    jpeg_read_scanlines(&decoder, &row, 1);
  }
  jpeg_finish_decompress(&decoder);
  *warnings = errors.num_warnings;
  jpeg_destroy_decompress(&decoder);
  return pixels;
}

// By libpng's simple interface, which refuses a chunk of a wrong checksum with a warning.
std::vector<uint8_t> DecodePng(const std::string& bytes, PictureSize* size, long* warnings) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0);
  image.format = PNG_FORMAT_RGB;
  *size = {.width = static_cast<int>(image.width), .height = static_cast<int>(image.height)};
  std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(image));
  EXPECT_NE(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr), 0);
  *warnings = image.warning_or_error;
  return pixels;
}

std::vector<uint8_t> Decode(PictureFormat format, const std::string& bytes, PictureSize* size) {
  long warnings = 0;
  std::vector<uint8_t> pixels = format == PictureFormat::kJpeg ? DecodeJpeg(bytes, size, &warnings)
                                                               : DecodePng(bytes, size, &warnings);
  EXPECT_EQ(warnings, 0);
  return pixels;
}

class PictureTest : public testing::TestWithParam<PictureFormat> {};

TEST_P(PictureTest, StampsChangeTheBytesAndNotThePixels) {
  const StampablePicture picture = MakePicture(GetParam(), {}, 1);
  PictureSize size;
  const std::vector<uint8_t> pixels = Decode(GetParam(), picture.bytes, &size);
  EXPECT_EQ(size.width, 336);
  EXPECT_EQ(size.height, 336);
  std::set<std::string> seen;
  std::string bytes = picture.bytes;
  for (const uint64_t run : {uint64_t{1}, ~uint64_t{0}}) {
    for (uint64_t number = 0; number < 100; ++number) {
      Stamp(picture, run, number, &bytes);
      EXPECT_TRUE(seen.insert(bytes).second) << "seen before: " << number;
    }
    EXPECT_EQ(Decode(GetParam(), bytes, &size), pixels);
  }
}

TEST_P(PictureTest, AStampFollowsFromItsNumbersAlone) {
  const StampablePicture picture = MakePicture(GetParam(), {}, 1);
  std::string fresh = picture.bytes;
  Stamp(picture, 3, 4, &fresh);
  std::string used = picture.bytes;
  Stamp(picture, 5, 6, &used);
  EXPECT_NE(used, fresh);
  Stamp(picture, 3, 4, &used);
  EXPECT_EQ(used, fresh);
}

TEST_P(PictureTest, HasTheAskedSizeAndContentOfItsSeed) {
  for (const PictureSize asked : {PictureSize{1, 1}, PictureSize{7, 300}, PictureSize{641, 33}}) {
    PictureSize size;
    const auto one = Decode(GetParam(), MakePicture(GetParam(), asked, 1).bytes, &size);
    EXPECT_EQ(size.width, asked.width);
    EXPECT_EQ(size.height, asked.height);
    EXPECT_EQ(Decode(GetParam(), MakePicture(GetParam(), asked, 1).bytes, &size), one);
    EXPECT_NE(Decode(GetParam(), MakePicture(GetParam(), asked, 2).bytes, &size), one);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, PictureTest,
                         testing::Values(PictureFormat::kJpeg, PictureFormat::kPng));

}  // namespace
}  // namespace llavamini::bench
