#include "server/engine/image_encoder.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/fake_model.h"

namespace llavamini {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

PreparedImage New(uint8_t content, int resolution_ratio = 1) {
  PreparedImage image;
  image.key = {content, static_cast<uint8_t>(resolution_ratio)};
  image.input = FakeImageInput(content, resolution_ratio);
  return image;
}

class ImageEncoderTest : public testing::Test {
 protected:
  ImageEncoderTest() {
    model_.before_call = [this](const FakeCall& call) {
      calls_.push_back(call.who);
      return fail_ ? fail_(call) : absl::OkStatus();
    };
  }

  std::vector<EncodedOrFailed> Encode(const std::vector<PreparedImage>& images) {
    std::vector<const PreparedImage*> pointers;
    for (const PreparedImage& image : images) pointers.push_back(&image);
    return EncodeImages(pointers, model_, cache_);
  }

  static uint64_t ContentOf(const EncodedOrFailed& result) {
    return dynamic_cast<const FakeEncodedImage&>(**result.image).content();
  }

  FakeModel model_{ModelFacts{}, {}, 0};
  ImageCache cache_{1000};
  std::vector<std::vector<uint64_t>> calls_;
  std::function<absl::Status(const FakeCall&)> fail_;
};

TEST_F(ImageEncoderTest, EncodesOneKeyOnceAndGivesItToAll) {
  const auto results = Encode({New(1), New(2), New(1)});
  EXPECT_THAT(calls_, ElementsAre(ElementsAre(1, 2)));
  EXPECT_EQ(*results[0].image, *results[2].image);
  EXPECT_EQ(ContentOf(results[0]), Mix(1, 1));
  EXPECT_EQ(ContentOf(results[1]), Mix(2, 1));
  EXPECT_FALSE(results[2].from_cache);
}

TEST_F(ImageEncoderTest, TakesFromTheCacheWhatItKnowsAndKeepsWhatIsNew) {
  const auto first = Encode({New(1)});
  const auto second = Encode({New(1), New(2)});
  EXPECT_THAT(calls_, ElementsAre(ElementsAre(1), ElementsAre(2)));
  EXPECT_FALSE(first[0].from_cache);
  EXPECT_TRUE(second[0].from_cache);
  EXPECT_FALSE(second[1].from_cache);
  EXPECT_NE(cache_.Find(New(2).key), nullptr);
}

TEST_F(ImageEncoderTest, CallsTheModelOncePerResolutionRatio) {
  const auto results = Encode({New(1, 2), New(2, 1), New(3, 2)});
  EXPECT_THAT(calls_, ElementsAre(ElementsAre(2), ElementsAre(1, 3)));
  EXPECT_THAT(model_.complaints(), IsEmpty());
  EXPECT_EQ(ContentOf(results[0]), Mix(1, 2));
  EXPECT_EQ(ContentOf(results[1]), Mix(2, 1));
}

TEST_F(ImageEncoderTest, FailsOnlyTheGroupThatFailed) {
  fail_ = [](const FakeCall& call) {
    return call.who[0] == 1 ? absl::UnknownError("broken") : absl::OkStatus();
  };
  const auto results = Encode({New(1, 1), New(2, 1), New(3, 2)});
  EXPECT_EQ(results[0].image.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(results[1].image.status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(results[2].image.ok());
  EXPECT_EQ(cache_.Find(New(1).key), nullptr);
}

TEST_F(ImageEncoderTest, TriesEachAloneWhenMemoryRunsOutAndFailsThoseThatFailAlone) {
  fail_ = [](const FakeCall& call) {
    const bool too_much = call.who.size() > 1 || call.who[0] == 2;
    return too_much ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
  };
  const auto results = Encode({New(1), New(2), New(3)});
  EXPECT_THAT(calls_,
              ElementsAre(ElementsAre(1, 2, 3), ElementsAre(1), ElementsAre(2), ElementsAre(3)));
  EXPECT_TRUE(results[0].image.ok());
  EXPECT_EQ(results[1].image.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(results[2].image.ok());
}

TEST_F(ImageEncoderTest, StopsCallingALostDevice) {
  fail_ = [](const FakeCall&) { return absl::AbortedError("lost"); };
  const auto results = Encode({New(1, 1), New(2, 2)});
  EXPECT_EQ(calls_.size(), 1u);
  for (const EncodedOrFailed& result : results) {
    EXPECT_EQ(result.image.status().code(), absl::StatusCode::kAborted);
  }
}

TEST_F(ImageEncoderTest, StopsTryingAloneOnceTheDeviceIsLost) {
  fail_ = [](const FakeCall& call) {
    return call.who.size() > 1 ? absl::ResourceExhaustedError("memory")
                               : absl::AbortedError("lost");
  };
  const auto results = Encode({New(1), New(2), New(3)});
  EXPECT_EQ(calls_.size(), 2u);
  EXPECT_EQ(results[2].image.status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace llavamini
