#include "client/bench/workload.h"

#include <map>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini::bench {
namespace {

TEST(ChoosePicture, KeepsTheShareInEveryStretchAndRepeatsInTurn) {
  for (const double share : {0.0, 0.1, 0.25, 0.5, 0.9, 1.0}) {
    for (const uint64_t first : {0, 1000, 12'345}) {
      std::map<uint64_t, int> repeated;
      std::set<uint64_t> fresh;
      for (uint64_t number = first; number < first + 1000; ++number) {
        const uint64_t picture = ChoosePicture({.number = number}, share, /*distinct=*/8);
        if (picture < 8) {
          ++repeated[picture];
        } else {
          EXPECT_TRUE(fresh.insert(picture).second) << picture;
        }
      }
      EXPECT_NEAR(static_cast<double>(fresh.size()), 1000 * (1 - share), 1) << share;
      for (const auto& [picture, count] : repeated) EXPECT_NEAR(count, 1000 * share / 8, 1);
    }
  }
}

TEST(ChoosePicture, ShowsEachRepeatedPictureAtTheStartOfTheWarmUp) {
  for (int64_t warmup = 0; warmup < 8; ++warmup) {
    EXPECT_EQ(ChoosePicture({.number = 77, .warmup = warmup}, 0.5, 8), warmup);
    EXPECT_GE(ChoosePicture({.number = 77, .warmup = warmup}, 0, 8), 8u);
  }
}

RequestOptions SmallPictures() {
  RequestOptions options;
  options.size = {.width = 16, .height = 16};
  return options;
}

const std::string& PictureOf(const v1::ChatRequest& request) {
  return request.messages().rbegin()->content(0).image().source().data();
}

TEST(Workload, MakesARequestOfItsOptions) {
  RequestOptions options = SmallPictures();
  options.model = "m";
  options.max_tokens = 7;
  options.top_p = 0.5f;
  const Workload workload(options, 1, 1, "");
  v1::ChatRequest request = workload.Blank();
  workload.Fill({.number = 3}, &request);
  EXPECT_EQ(request.model(), "m");
  EXPECT_EQ(request.params().max_tokens(), 7u);
  EXPECT_TRUE(request.params().ignore_eos());
  EXPECT_EQ(request.params().temperature(), 0);
  EXPECT_EQ(request.params().top_p(), 0.5f);
  EXPECT_FALSE(request.params().has_top_k());
  EXPECT_FALSE(request.params().has_seed());
  ASSERT_EQ(request.messages_size(), 1);
  EXPECT_EQ(request.messages(0).role(), v1::ROLE_USER);
  ASSERT_EQ(request.messages(0).content_size(), 2);
  EXPECT_GT(PictureOf(request).size(), 100u);
  EXPECT_EQ(request.messages(0).content(1).text(), options.prompt);
}

TEST(Workload, GivesEachRequestItsOwnPicturesAndSeed) {
  RequestOptions options = SmallPictures();
  options.temperature = 1;
  const Workload workload(options, /*run=*/1, /*seed=*/5, "");
  const Workload other_run(options, /*run=*/2, /*seed=*/5, "");
  std::set<std::string> pictures;
  v1::ChatRequest request = workload.Blank();
  for (uint64_t number = 0; number < 50; ++number) {
    workload.Fill({.number = number}, &request);
    EXPECT_TRUE(pictures.insert(PictureOf(request)).second);
    EXPECT_EQ(request.params().seed(), 5 + number);
    other_run.Fill({.number = number}, &request);
    EXPECT_TRUE(pictures.insert(PictureOf(request)).second);
  }
  v1::ChatRequest again = workload.Blank();
  workload.Fill({.number = 3}, &again);
  EXPECT_TRUE(pictures.contains(PictureOf(again)));
}

TEST(Workload, MakesFramesThatNoOtherRequestHas) {
  RequestOptions options = SmallPictures();
  options.media = MediaKind::kFrames;
  options.frames = 20;
  const Workload workload(options, 1, 1, "");
  v1::ChatRequest request = workload.Blank();
  std::set<std::string> pictures;
  for (uint64_t number = 0; number < 3; ++number) {
    workload.Fill({.number = number}, &request);
    ASSERT_EQ(request.messages(0).content(0).frames().frames_size(), 20);
    for (const v1::Frame& frame : request.messages(0).content(0).frames().frames()) {
      EXPECT_TRUE(pictures.insert(frame.source().data()).second);
    }
  }
}

TEST(Workload, SendsAVideoAsItIsAndNothingForNone) {
  RequestOptions options;
  options.media = MediaKind::kVideo;
  EXPECT_EQ(Workload(options, 1, 1, "bytes").Blank().messages(0).content(0).video().source().data(),
            "bytes");
  options.media = MediaKind::kNone;
  EXPECT_EQ(Workload(options, 1, 1, "").Blank().messages(0).content_size(), 1);
}

TEST(Workload, CountsTextAloneUnderTheSameSystemText) {
  RequestOptions options = SmallPictures();
  options.prompt_tokens = 41;
  Workload workload(options, 1, 1, "");
  workload.SetQuestion("two words");
  EXPECT_EQ(workload.Blank().messages(1).content(1).text(), "two words");
  const v1::ChatRequest text = workload.TextOnly("other");
  ASSERT_EQ(text.messages_size(), 2);
  EXPECT_EQ(text.messages(0).role(), v1::ROLE_SYSTEM);
  ASSERT_EQ(text.messages(1).content_size(), 1);
  EXPECT_EQ(text.messages(1).content(0).text(), "other");
}

TEST(Workload, WarmsUpEveryRepeatedPicture) {
  RequestOptions options = SmallPictures();
  options.distinct_images = 20;
  EXPECT_EQ(Workload(options, 1, 1, "").WarmupRequests(4), 4u);
  options.repeat_share = 0.5;
  EXPECT_EQ(Workload(options, 1, 1, "").WarmupRequests(4), 20u);
  EXPECT_EQ(Workload(options, 1, 1, "").WarmupRequests(40), 40u);
}

}  // namespace
}  // namespace llavamini::bench
