#include "client/bench/arguments.h"

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<Arguments> Parse(const std::string& line) {
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  return ParseArguments(words, "default:1");
}

TEST(BenchArguments, AloneAreAClosedLoopOfOneStreamForTenSeconds) {
  const auto parsed = Parse("");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->address, "default:1");
  EXPECT_THAT(parsed->concurrency, ElementsAre(1u));
  EXPECT_TRUE(parsed->rates.empty());
  EXPECT_EQ(parsed->duration, absl::Seconds(10));
  EXPECT_EQ(parsed->requests, std::nullopt);
  EXPECT_EQ(parsed->request.media, MediaKind::kImage);
  EXPECT_EQ(parsed->request.repeat_share, 0);
  EXPECT_EQ(parsed->request.size.width, 336);
  EXPECT_EQ(parsed->request.temperature, 0);
  EXPECT_FALSE(parsed->request.respect_eos);
}

TEST(BenchArguments, ReadAnOpenLoop) {
  const auto parsed = Parse(
      "--address host:2 --rate 0.5,10,1e2 --max-in-flight 7 --requests 9 --duration=1.5 --warmup 0 "
      "--seed 18446744073709551615 --channels 3 --threads 2 --timeout 4 --json out.json --label x");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->address, "host:2");
  EXPECT_THAT(parsed->rates, ElementsAre(0.5, 10, 100));
  EXPECT_TRUE(parsed->concurrency.empty());
  EXPECT_EQ(parsed->max_in_flight, 7u);
  EXPECT_EQ(parsed->requests, 9u);
  EXPECT_EQ(parsed->duration, absl::Milliseconds(1500));
  EXPECT_EQ(parsed->warmup, 0u);
  EXPECT_EQ(parsed->seed, 18446744073709551615u);
  EXPECT_EQ(parsed->channels, 3u);
  EXPECT_EQ(parsed->threads, 2u);
  EXPECT_EQ(parsed->timeout, absl::Seconds(4));
  EXPECT_EQ(parsed->json, "out.json");
  EXPECT_EQ(parsed->label, "x");
}

TEST(BenchArguments, ReadARequest) {
  const auto parsed = Parse(
      "--concurrency 1,8,512 --requests 3 --image repeated --repeat-share 0.25 --distinct-images 5 "
      "--image-size 640x480 --image-format png --prompt-tokens 41 --max-tokens 7 --respect-eos "
      "--temperature 0.5 --top-p 0.9 --top-k 3 --model m");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->concurrency, ElementsAre(1u, 8u, 512u));
  EXPECT_EQ(parsed->duration, std::nullopt);
  const RequestOptions& request = parsed->request;
  EXPECT_EQ(request.repeat_share, 0.25);
  EXPECT_EQ(request.distinct_images, 5u);
  EXPECT_EQ(request.size.width, 640);
  EXPECT_EQ(request.size.height, 480);
  EXPECT_EQ(request.format, PictureFormat::kPng);
  EXPECT_EQ(request.prompt_tokens, 41u);
  EXPECT_EQ(request.max_tokens, 7u);
  EXPECT_TRUE(request.respect_eos);
  EXPECT_EQ(request.temperature, 0.5f);
  EXPECT_EQ(request.top_p, 0.9f);
  EXPECT_EQ(request.top_k, 3u);
  EXPECT_EQ(request.model, "m");
}

TEST(BenchArguments, ChooseTheMedia) {
  EXPECT_EQ(Parse("--image new")->request.repeat_share, 0);
  EXPECT_EQ(Parse("--image repeated")->request.repeat_share, 1);
  EXPECT_EQ(Parse("--repeat-share 0.5 --image new")->request.repeat_share, 0.5);
  EXPECT_EQ(Parse("--image none")->request.media, MediaKind::kNone);
  EXPECT_EQ(Parse("--frames 4")->request.media, MediaKind::kFrames);
  EXPECT_EQ(Parse("--frames 4")->request.frames, 4u);
  EXPECT_EQ(Parse("--video a.mp4")->request.media, MediaKind::kVideo);
  EXPECT_EQ(Parse("--video a.mp4")->request.video, "a.mp4");
}

TEST(BenchArguments, AskForHelpWhateverElseIsGiven) {
  EXPECT_TRUE(Parse("--rate nothing --help")->help);
  EXPECT_TRUE(Parse("-h")->help);
  for (const char* named : {"--concurrency N,...", "comment of the file", "nearest rank"}) {
    EXPECT_THAT(HelpText(), HasSubstr(named));
  }
}

TEST(BenchArguments, RefuseAWrongCommandLineAndNameTheWord) {
  const struct {
    const char* line;
    const char* named;
  } kCases[] = {
      {"chat", "unknown option 'chat'"},
      {"--loud", "unknown option '--loud'"},
      {"--requests", "--requests needs N"},
      {"--respect-eos=yes", "--respect-eos takes no value"},
      {"--concurrency 0", "--concurrency takes N,..., not '0'"},
      {"--concurrency 1,,2", "not '1,,2'"},
      {"--concurrency 65537", "not '65537'"},
      {"--rate -1", "--rate takes R,..., not '-1'"},
      {"--rate 1,nan", "not '1,nan'"},
      {"--rate 0", "not '0'"},
      {"--max-in-flight 0 --rate 1", "--max-in-flight takes N"},
      {"--requests 0", "--requests takes N"},
      {"--duration inf", "--duration takes S"},
      {"--duration 0", "--duration takes S"},
      {"--repeat-share 1.1", "--repeat-share takes 0..1"},
      {"--repeat-share nan", "--repeat-share takes 0..1"},
      {"--image blue", "--image takes new|repeated|none, not 'blue'"},
      {"--image-size 336", "--image-size takes WxH"},
      {"--image-size 0x5", "--image-size takes WxH"},
      {"--image-size 5x20000", "--image-size takes WxH"},
      {"--image-size 5x5x5", "--image-size takes WxH"},
      {"--image-format gif", "--image-format takes jpeg|png"},
      {"--frames 0", "--frames takes N"},
      {"--max-tokens 0", "--max-tokens takes N"},
      {"--threads 0", "--threads takes N"},
      {"--concurrency 1 --rate 1", "either --concurrency or --rate"},
      {"--max-in-flight 3", "--max-in-flight goes with --rate"},
      {"--frames 1 --video a", "either --frames or --video"},
      {"--image new --frames 1", "--image goes with neither"},
      {"--frames 2 --repeat-share 0.5", "--repeat-share and --distinct-images go with --image"},
      {"--image none --distinct-images 3", "--repeat-share and --distinct-images go with --image"},
      {"--image none --image-size 5x5", "--image-size and --image-format go with"},
      {"--video a --image-format png", "--image-size and --image-format go with"},
      {"--prompt a --prompt-tokens 5", "either --prompt or --prompt-tokens"},
  };
  for (const auto& each : kCases) {
    const auto parsed = Parse(each.line);
    ASSERT_FALSE(parsed.ok()) << each.line;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(each.named)) << each.line;
  }
}

}  // namespace
}  // namespace llavamini::bench
