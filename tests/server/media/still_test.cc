#include "server/media/still.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/sha256.h"

namespace llavamini {
namespace {

using testing::HasSubstr;

constexpr MediaLimits kSmallLimits{.max_pixels = 200'000, .max_side = 16'384};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string MediaFile(const std::string& name) {
  return ReadFile(LLAVAMINI_SOURCE_DIR "/tests/golden/media/" + name);
}

nlohmann::json Goldens() {
  return nlohmann::json::parse(ReadFile(LLAVAMINI_SOURCE_DIR "/tests/golden/media_goldens.json"))
      .at("files");
}

std::string NameOf(std::optional<MediaFailure> failure) {
  if (!failure.has_value()) return "none";
  switch (*failure) {
    case MediaFailure::kUnsupported:
      return "unsupported";
    case MediaFailure::kCorrupt:
      return "corrupt";
    case MediaFailure::kTooLarge:
      return "too_large";
  }
  return "unknown";
}

void ExpectLegal(const Picture& picture, const MediaLimits& limits) {
  EXPECT_GE(picture.width, 1);
  EXPECT_GE(picture.height, 1);
  EXPECT_LE(picture.width, limits.max_side);
  EXPECT_LE(picture.height, limits.max_side);
  EXPECT_LE(int64_t{picture.width} * picture.height, limits.max_pixels);
  EXPECT_EQ(static_cast<int64_t>(picture.rgb.size()), int64_t{picture.width} * picture.height * 3);
}

TEST(DecodeStill, GivesPillowsPixelsOrTheRightRefusal) {
  const nlohmann::json goldens = Goldens();
  ASSERT_GE(goldens.size(), 150u);
  for (const nlohmann::json& golden : goldens) {
    SCOPED_TRACE(golden.at("file"));
    const absl::StatusOr<Picture> picture =
        DecodeStill(MediaFile(golden.at("file")), MediaLimits{});
    if (golden.contains("failure")) {
      EXPECT_EQ(NameOf(MediaFailureOf(picture.status())), golden.at("failure"));
      EXPECT_EQ(picture.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ASSERT_TRUE(picture.ok()) << picture.status();
    EXPECT_EQ(picture->width, golden.at("width"));
    EXPECT_EQ(picture->height, golden.at("height"));
    EXPECT_EQ(Sha256(picture->rgb), golden.at("sha256"));
  }
}

// Every length of a small file, about three hundred lengths of a larger one, and the last few bytes
// one by one.
TEST(DecodeStill, RefusesAFileCutAnywhere) {
  for (const nlohmann::json& golden : Goldens()) {
    if (golden.contains("failure")) continue;
    const std::string bytes = MediaFile(golden.at("file"));
    const size_t step = bytes.size() > 1500 ? bytes.size() / 300 : 1;
    for (size_t length = 0; length < bytes.size();
         length += bytes.size() - length <= 20 ? 1 : std::min(step, bytes.size() - length - 20)) {
      const absl::StatusOr<Picture> picture =
          DecodeStill(std::string_view(bytes).substr(0, length), MediaLimits{});
      const std::string expected = length < 12 ? "unsupported|corrupt" : "corrupt";
      EXPECT_THAT(expected, HasSubstr(NameOf(MediaFailureOf(picture.status()))))
          << golden.at("file") << " cut to " << length << " of " << bytes.size();
    }
  }
}

TEST(DecodeStill, SurvivesFlippedBytes) {
  std::minstd_rand random(20);
  for (const nlohmann::json& golden : Goldens()) {
    const std::string bytes = MediaFile(golden.at("file"));
    if (bytes.empty()) continue;
    for (int trial = 0; trial < 100; ++trial) {
      std::string changed = bytes;
      for (size_t flips = 1 + random() % 4; flips > 0; --flips) {
        // The headers more often than the rest.
        const size_t range =
            random() % 2 == 0 ? std::min<size_t>(changed.size(), 64) : changed.size();
        changed[random() % range] = static_cast<char>(random() >> 8);
      }
      const absl::StatusOr<Picture> picture = DecodeStill(changed, kSmallLimits);
      if (picture.ok()) {
        ExpectLegal(*picture, kSmallLimits);
      } else {
        EXPECT_TRUE(MediaFailureOf(picture.status()).has_value()) << golden.at("file");
      }
    }
  }
}

TEST(DecodeStill, ToleratesBytesAfterTheEnd) {
  for (const char* name : {"420-37x29.jpg", "rgb-8.png", "lossy.webp", "animated.webp"}) {
    EXPECT_TRUE(DecodeStill(MediaFile(name) + "trailing bytes", MediaLimits{}).ok()) << name;
  }
}

TEST(DecodeStill, KeepsToTheLimits) {
  const struct {
    const char* file;  // 37x29 each
    MediaLimits limits;
    const char* outcome;
  } kCases[] = {
      {"420-37x29.jpg", {.max_pixels = int64_t{37} * 29, .max_side = 37}, "none"},
      {"420-37x29.jpg", {.max_pixels = int64_t{37} * 29 - 1, .max_side = 37}, "too_large"},
      {"420-37x29.jpg", {.max_pixels = int64_t{37} * 29, .max_side = 36}, "too_large"},
      {"420-37x29.jpg", {.max_bytes = 100}, "too_large"},
      {"lossy.webp", {.max_pixels = int64_t{37} * 29, .max_side = 37}, "none"},
      {"lossy.webp", {.max_pixels = int64_t{37} * 29 - 1, .max_side = 37}, "too_large"},
      {"lossy.webp", {.max_pixels = int64_t{37} * 29, .max_side = 36}, "too_large"},
      {"lossless.webp", {.max_side = 36}, "too_large"},
      {"rgb-8.png", {.max_pixels = int64_t{13} * 11, .max_side = 13}, "none"},
      {"rgb-8.png", {.max_pixels = int64_t{13} * 11 - 1, .max_side = 13}, "too_large"},
      {"rgb-8.png", {.max_pixels = int64_t{13} * 11, .max_side = 12}, "too_large"},
  };
  for (const auto& test : kCases) {
    const absl::StatusOr<Picture> picture = DecodeStill(MediaFile(test.file), test.limits);
    EXPECT_EQ(NameOf(MediaFailureOf(picture.status())), test.outcome) << test.file;
  }
  const std::string bytes = MediaFile("rgb-8.png");
  const auto size = static_cast<int64_t>(bytes.size());
  EXPECT_TRUE(DecodeStill(bytes, {.max_bytes = size}).ok());
  EXPECT_EQ(NameOf(MediaFailureOf(DecodeStill(bytes, {.max_bytes = size - 1}).status())),
            "too_large");
}

// A cut picture is refused for its size as soon as its header is there.
TEST(DecodeStill, ChecksTheSizeBeforeThePixels) {
  for (const char* name :
       {"bad-too-many-pixels.jpg", "bad-too-many-pixels.png", "bad-too-many-pixels.webp"}) {
    const std::string bytes = MediaFile(name);
    const size_t header =
        bytes.find("\xFF\xDA") != std::string::npos ? bytes.find("\xFF\xDA") + 14 : 60;
    EXPECT_EQ(NameOf(MediaFailureOf(
                  DecodeStill(std::string_view(bytes).substr(0, header), MediaLimits{}).status())),
              "too_large")
        << name;
  }
}

TEST(MediaError, CarriesItsFailureAndMessage) {
  for (const MediaFailure failure :
       {MediaFailure::kUnsupported, MediaFailure::kCorrupt, MediaFailure::kTooLarge}) {
    const absl::Status status = MediaError(failure, "a message");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), "a message");
    EXPECT_EQ(MediaFailureOf(status), failure);
  }
  EXPECT_EQ(MediaFailureOf(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(MediaFailureOf(absl::InvalidArgumentError("another")), std::nullopt);
}

}  // namespace
}  // namespace llavamini
