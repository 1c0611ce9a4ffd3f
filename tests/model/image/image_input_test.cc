
#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/picture.h"
#include "nlohmann/json.hpp"
#include "tests/model/image/made_picture.h"
#include "tests/sha256.h"

namespace llavamini {
namespace {

using testing::Each;
using testing::ElementsAre;

nlohmann::json Goldens(const char* table) {
  std::ifstream file(LLAVAMINI_SOURCE_DIR "/tests/golden/image_goldens.json");
  return nlohmann::json::parse(file).at(table);
}

Picture PictureOf(const nlohmann::json& golden) {
  return MadePicture(golden.at("width"), golden.at("height"),
                     golden.at("style").get<std::string>());
}

// Pixel (row, column) of a part.
std::vector<uint8_t> PixelAt(const ImageInput& input, int part, int row, int column) {
  const int64_t index = ((int64_t{part} * input.side + row) * input.side + column) * 3;
  return {input.parts.begin() + index, input.parts.begin() + index + 3};
}

TEST(ImageInput, EqualsPillowBitForBit) {
  const nlohmann::json goldens = Goldens("pictures");
  ASSERT_GE(goldens.size(), 300u);
  for (const nlohmann::json& golden : goldens) {
    SCOPED_TRACE(golden.dump());
    const ImageInput input = MakeImageInput(PictureOf(golden), {.resolution_ratio = golden.at("n"),
                                                                .side = golden.at("side"),
                                                                .pad_to_square = golden.at("pad")});
    EXPECT_EQ(Sha256(input.parts), golden.at("sha256"));
  }
}

TEST(FrameInput, EqualsNearestNeighbourThenPillow) {
  const nlohmann::json goldens = Goldens("frames");
  ASSERT_GE(goldens.size(), 20u);
  for (const nlohmann::json& golden : goldens) {
    SCOPED_TRACE(golden.dump());
    const ImageInput input = MakeFrameInput(
        PictureOf(golden),
        {.resolution_ratio = golden.at("n"), .side = golden.at("side"), .pad_to_square = true});
    EXPECT_EQ(Sha256(input.parts), golden.at("sha256"));
  }
}

TEST(ImageInput, SaysWhatItsPartsAre) {
  const Picture picture = MadePicture(40, 30, "noise");
  for (const int n : {1, 2, 3}) {
    const ImageInput input = MakeImageInput(picture, {.resolution_ratio = n, .side = 56});
    EXPECT_EQ(input.resolution_ratio, n);
    EXPECT_EQ(input.side, 56);
    EXPECT_EQ(input.part_count(), n == 1 ? 1 : n * n + 1);
    EXPECT_EQ(input.parts.size(), static_cast<size_t>(input.part_count()) * 56 * 56 * 3);
  }
}

TEST(ImageInput, PutsTheWholePictureLastAndCropsRowByRow) {
  // Four quarters of one colour each.
  Picture picture{8, 8, std::vector<uint8_t>(size_t{8} * 8 * 3)};
  for (size_t row = 0; row < 8; ++row) {
    for (size_t column = 0; column < 8; ++column) {
      picture.rgb[(row * 8 + column) * 3] = static_cast<uint8_t>(10 * (row / 4 * 2 + column / 4));
    }
  }
  const ImageInput input = MakeImageInput(picture, {.resolution_ratio = 2, .side = 8});
  for (int crop = 0; crop < 4; ++crop) {
    EXPECT_THAT(PixelAt(input, crop, 0, 0), ElementsAre(10 * crop, 0, 0));
    EXPECT_THAT(PixelAt(input, crop, 7, 7), ElementsAre(10 * crop, 0, 0));
  }
  EXPECT_THAT(std::vector<uint8_t>(input.parts.end() - int64_t{8} * 8 * 3, input.parts.end()),
              testing::ElementsAreArray(picture.rgb));
}

TEST(ImageInput, CutsPicturesOfFewerPixelsThanCropsIntoSinglePixels) {
  for (const auto& [width, height] : {std::pair{1, 1}, {2, 1}, {1, 2}, {2, 2}, {1, 300}}) {
    for (const bool pad : {true, false}) {
      const Picture picture{
          width, height,
          std::vector<uint8_t>(static_cast<size_t>(width) * static_cast<size_t>(height) * 3, 201)};
      const ImageInput input = MakeImageInput(
          picture, {.resolution_ratio = 3, .side = 14, .pad_to_square = pad && height < 3});
      ASSERT_EQ(input.parts.size(), 10u * 14 * 14 * 3);
      if (height < 3) {
        for (int crop = 0; crop < 9; ++crop) {
          EXPECT_THAT(PixelAt(input, crop, 6, 6), Each(201));
        }
      } else {
        EXPECT_THAT(input.parts, Each(201));
      }
    }
  }
}

TEST(ImageInput, KeepsAConstantPictureConstant) {
  for (const uint8_t value : {0, 1, 127, 254, 255}) {
    for (const auto& [width, height] : {std::pair{3, 2}, {16384, 5}, {97, 1000}, {336, 401}}) {
      const Picture picture{
          width, height,
          std::vector<uint8_t>(static_cast<size_t>(width) * static_cast<size_t>(height) * 3,
                               value)};
      const ImageInput input = MakeImageInput(picture, {.side = 28, .pad_to_square = false});
      EXPECT_THAT(input.parts, Each(value)) << width << "x" << height;
    }
  }
}

TEST(ImageInput, PadsWithTheMeanColour) {
  const Picture picture{100, 20, std::vector<uint8_t>(size_t{100} * 20 * 3, 255)};
  const ImageInput input = MakeImageInput(picture, {.side = 336});
  EXPECT_THAT(PixelAt(input, 0, 0, 0), ElementsAre(122, 116, 104));
  EXPECT_THAT(PixelAt(input, 0, 335, 335), ElementsAre(122, 116, 104));
  EXPECT_THAT(PixelAt(input, 0, 168, 0), ElementsAre(255, 255, 255));
}

// As Pillow, which does not resample what keeps its size.
TEST(ImageInput, APictureThatKeepsItsSizeIsOnlyMoved) {
  const Picture wide = MadePicture(28, 20, "noise"), tall = MadePicture(28, 41, "noise");
  const auto pixel = [](const Picture& picture, int row, int column) {
    const auto at = picture.rgb.begin() + (int64_t{row} * picture.width + column) * 3;
    return std::vector<uint8_t>(at, at + 3);
  };
  const ImageInput padded = MakeImageInput(wide, {.side = 28});
  const ImageInput cropped = MakeImageInput(tall, {.side = 28, .pad_to_square = false});
  for (int row = 0; row < 20; ++row) {
    for (int column = 0; column < 28; ++column) {
      EXPECT_EQ(PixelAt(padded, 0, row + 4, column), pixel(wide, row, column));
      EXPECT_EQ(PixelAt(cropped, 0, row, column), pixel(tall, row + 6, column));
    }
  }
  EXPECT_THAT(PixelAt(padded, 0, 3, 5), ElementsAre(122, 116, 104));
}

}  // namespace
}  // namespace llavamini
