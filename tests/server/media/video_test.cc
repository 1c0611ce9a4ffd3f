// Video files against PyAV, and files that are cut off, damaged or no video at all.
#include "server/media/video.h"

#include <array>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/media/video_sampling.h"
#include "tests/sha256.h"

namespace llavamini {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

std::string ReadFile(const std::string& name) {
  std::ifstream file(LLAVAMINI_SOURCE_DIR "/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string Video(const std::string& name) { return ReadFile("tests/golden/video/" + name); }

nlohmann::json Goldens(const std::string& section) {
  const nlohmann::json rows =
      nlohmann::json::parse(ReadFile("tests/golden/video_goldens.json")).at(section);
  EXPECT_GT(rows.size(), 10u) << section;
  return rows;
}

std::string NameOf(const absl::Status& status) {
  if (status.ok()) return "none";
  const std::optional<MediaFailure> failure = MediaFailureOf(status);
  if (!failure.has_value()) return "another: " + status.ToString();
  if (*failure == MediaFailure::kUnsupported) return "unsupported";
  return *failure == MediaFailure::kCorrupt ? "corrupt" : "too large";
}

// Inspects and decodes all of a file.
absl::Status TryAll(std::string_view bytes, const VideoLimits& limits = {}) {
  const absl::StatusOr<VideoFacts> facts = InspectVideo(bytes, limits, GoOn);
  if (!facts.ok()) return facts.status();
  return DecodeFrames(bytes, *facts, {0}, limits, GoOn,
                      [](size_t, const Picture&) { return absl::OkStatus(); });
}

void ExpectMeans(const Picture& frame, const nlohmann::json& means, const std::string& name) {
  double sums[3] = {};
  for (size_t i = 0; i < frame.rgb.size(); ++i) sums[i % 3] += frame.rgb[i];
  for (size_t colour = 0; colour < 3; ++colour) {
    EXPECT_NEAR(sums[colour] / (frame.width * frame.height), means.at(colour), 2.5) << name;
  }
}

TEST(Video, GivesTheFramesOfPyAV) {
  for (const nlohmann::json& golden : Goldens("files")) {
    const std::string name = golden.at("file");
    const std::string bytes = ReadFile(name);
    const absl::StatusOr<VideoFacts> facts = InspectVideo(bytes, {}, GoOn);
    ASSERT_TRUE(facts.ok()) << name << ": " << facts.status();
    EXPECT_EQ(facts->frames, golden.at("frames")) << name;
    EXPECT_DOUBLE_EQ(facts->frames_per_second, golden.at("fps")) << name;
    const std::vector<int64_t> frames =
        SampleFrames({}, facts->frames, facts->frames_per_second, 20000);
    EXPECT_EQ(nlohmann::json(frames), golden.at("indices")) << name;
    std::vector<std::string> digests;
    const bool deep = golden.contains("means");
    const absl::Status decoded =
        DecodeFrames(bytes, *facts, frames, {}, GoOn, [&](size_t position, const Picture& frame) {
          EXPECT_EQ(position, digests.size()) << name;
          EXPECT_EQ(frame.width, golden.at("width")) << name;
          EXPECT_EQ(frame.height, golden.at("height")) << name;
          if (deep) ExpectMeans(frame, golden.at("means").at(position), name);
          digests.push_back(Sha256(MakeFrameInput(frame, {}).parts));
          return absl::OkStatus();
        });
    EXPECT_TRUE(decoded.ok()) << name << ": " << decoded;
    if (!deep) {
      EXPECT_EQ(nlohmann::json(digests), golden.at("sha256")) << name;
    }
    EXPECT_EQ(digests.size(), frames.size()) << name;
  }
}

TEST(Video, RefusesWhatIsNoVideoByItsKind) {
  for (const nlohmann::json& golden : Goldens("bad")) {
    const std::string name = golden.at("file");
    EXPECT_EQ(NameOf(TryAll(ReadFile(name))), golden.at("failure")) << name;
  }
}

TEST(Video, RefusesCutFiles) {
  for (const char* name : {"h264.mp4", "h264-moov-last.mp4", "h264.mov", "h264.mkv", "vp8.webm",
                           "vp9.webm", "mpeg4.avi", "mjpeg.avi", "h264-fragments.mp4", "av1.mp4"}) {
    const std::string bytes = Video(name);
    ASSERT_TRUE(TryAll(bytes).ok()) << name;
    for (int part = 1; part < 16; ++part) {
      const size_t length = bytes.size() * static_cast<size_t>(part) / 16;
      EXPECT_EQ(NameOf(TryAll(std::string_view(bytes).substr(0, length))), "corrupt")
          << name << " cut to " << length;
    }
    EXPECT_EQ(NameOf(TryAll(std::string_view(bytes).substr(0, bytes.size() - 1))), "corrupt")
        << name;
  }
}

TEST(Video, EndsOnDamagedFilesWithFramesOrAMediaFailure) {
  std::mt19937 random(7);
  int refused = 0;
  for (const char* name : {"h264.mp4", "h264.mkv", "vp8.webm", "vp9.webm", "mpeg4.avi", "mjpeg.avi",
                           "hevc.mp4", "av1.mp4", "h264-fragments.mp4"}) {
    const std::string bytes = Video(name);
    for (int round = 0; round < 40; ++round) {
      std::string damaged = bytes;
      for (int flip = 0; flip < 1 + round % 8; ++flip) {
        damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
      }
      const absl::Status status = TryAll(damaged);
      if (status.ok()) continue;
      ++refused;
      EXPECT_TRUE(MediaFailureOf(status).has_value()) << name << round << ": " << status;
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Video, HoldsItsLimits) {
  const std::string bytes = Video("h264.mp4");  // 20 frames of 64x48
  const auto size = static_cast<int64_t>(bytes.size());
  const std::pair<VideoLimits, const char*> cases[] = {
      {{.max_bytes = size,
        .max_pixels = 3072,
        .max_side = 64,
        .max_frames = 20,
        .max_decoded_pixels = 20 * 3072},
       "none"},
      {{.max_bytes = size - 1}, "too large"},
      {{.max_pixels = 3071}, "too large"},
      {{.max_side = 63}, "too large"},
      {{.max_frames = 19}, "too large"},
      {{.max_decoded_pixels = 20 * 3072 - 1}, "too large"},
  };
  int number = 0;
  for (const auto& [limits, failure] : cases) {
    EXPECT_EQ(NameOf(TryAll(bytes, limits)), failure) << "case " << number++;
  }
}

TEST(Video, StopsWhenAsked) {
  const std::string bytes = Video("h264.mp4");
  const StopCheck stop = [] { return absl::CancelledError("cancelled"); };
  EXPECT_TRUE(absl::IsCancelled(InspectVideo(bytes, {}, stop).status()));
  const auto ignore = [](size_t, const Picture&) { return absl::OkStatus(); };
  EXPECT_TRUE(absl::IsCancelled(DecodeFrames(bytes, {20, 8}, {0}, {}, stop, ignore)));
}

TEST(Video, RefusesAFileThatHasNotTheFramesOfItsFacts) {
  const std::string bytes = Video("h264.mp4");
  const auto ignore = [](size_t, const Picture&) { return absl::OkStatus(); };
  for (const int64_t frames : {19, 21}) {
    EXPECT_EQ(NameOf(DecodeFrames(bytes, {frames, 8}, {0}, {}, GoOn, ignore)), "corrupt") << frames;
  }
}

TEST(SampleFrames, FollowsThePublishedFormula) {
  for (const nlohmann::json& row : Goldens("sampling")) {
    EXPECT_EQ(nlohmann::json(SampleFrames({}, row.at("total"), row.at("fps"), 20000)),
              row.at("indices"))
        << row;
  }
}

TEST(SampleFrames, TakesRuleBoundsAndPart) {
  using Frames = std::vector<int64_t>;
  const FrameSampling two_a_second{.fps = 2.0};
  EXPECT_EQ(SampleFrames(two_a_second, 20, 5, 100).size(), 8u);
  EXPECT_EQ(SampleFrames({.fps = 1e300}, 20, 5, 100).size(), 20u);
  EXPECT_EQ(SampleFrames({.fps = 1e-300}, 20, 5, 100), Frames{9});
  EXPECT_EQ(SampleFrames({.num_frames = 2}, 21, 5, 100), (Frames{5, 15}));
  EXPECT_EQ(SampleFrames({.num_frames = 4'000'000'000}, 5, 5, 100), (Frames{0, 1, 2, 2, 3}));
  EXPECT_EQ(SampleFrames({.num_frames = 8, .max_frames = 2}, 21, 5, 100), (Frames{5, 15}));
  EXPECT_EQ(SampleFrames({.num_frames = 8, .max_frames = 4}, 21, 5, 2), (Frames{5, 15}));
  const FrameSampling part{.num_frames = 1, .start_seconds = 2, .end_seconds = 3};
  EXPECT_EQ(SampleFrames(part, 20, 5, 100), Frames{12});  // of 10 to 14
  EXPECT_EQ(SampleFrames({.start_seconds = 3, .end_seconds = 1e300}, 20, 5, 100), Frames{17});
  EXPECT_EQ(SampleFrames({.start_seconds = 4}, 20, 5, 100), Frames{});
}

}  // namespace
}  // namespace llavamini
