#include "server/engine/image_encoder.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/spdlog.h"
#include "tests/server/engine/fake_model.h"

namespace llavamini {
namespace {

using Kind = FakeCall::Kind;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

ImageToEncode New(uint8_t content) {
  return {{content}, FakeImageInput(content, 1), /*keep=*/true};
}

class ImageEncoderTest : public testing::Test {
 protected:
  ImageEncoderTest() {
    spdlog::set_level(spdlog::level::off);
    model_.before_call = [this](const FakeCall& call) {
      calls_.emplace_back(call.kind, call.who);
      return fail_ ? fail_(call) : absl::OkStatus();
    };
  }
  ~ImageEncoderTest() override { spdlog::set_level(spdlog::level::info); }

  std::vector<EncodedOrFailed> Encode(std::vector<ImageToEncode> images) {
    encoder_.Begin(std::move(images));
    encoder_.RunPieces(encoder_.pieces_left());
    EXPECT_EQ(encoder_.pieces_left(), 0);
    std::vector<EncodedOrFailed> results = encoder_.Take();
    EXPECT_TRUE(encoder_.idle());
    EXPECT_THAT(model_.complaints(), IsEmpty());
    return results;
  }

  static uint64_t ContentOf(const EncodedOrFailed& result) {
    return dynamic_cast<const FakeEncodedImage&>(**result.image).content();
  }

  FakeModel model_{FakeFacts(1), {.pieces = 2}};
  ImageEncoder encoder_{&model_};
  std::vector<std::pair<Kind, std::vector<uint64_t>>> calls_;
  std::function<absl::Status(const FakeCall&)> fail_;
};

TEST_F(ImageEncoderTest, EncodesABatchPieceByPiece) {
  EXPECT_TRUE(encoder_.idle());
  encoder_.Begin({New(1), New(2)});
  EXPECT_FALSE(encoder_.idle());
  EXPECT_EQ(encoder_.images(), 2);
  EXPECT_TRUE(encoder_.Has(New(2).key));
  EXPECT_FALSE(encoder_.Has(New(3).key));
  encoder_.RunPieces(1);
  EXPECT_EQ(encoder_.pieces_left(), 1);
  encoder_.RunPieces(1);
  const std::vector<EncodedOrFailed> results = encoder_.Take();
  EXPECT_THAT(calls_, ElementsAre(Pair(Kind::kBeginEncoding, ElementsAre(1, 2)),
                                  Pair(Kind::kPiece, ElementsAre(1, 2)),
                                  Pair(Kind::kPiece, ElementsAre(1, 2))));
  EXPECT_EQ(results[0].what.key, New(1).key);
  EXPECT_TRUE(results[0].what.keep);
  EXPECT_EQ(ContentOf(results[0]), Mix(1, 1));
  EXPECT_EQ(ContentOf(results[1]), Mix(2, 1));
  EXPECT_FALSE(encoder_.Has(New(2).key));
}

TEST_F(ImageEncoderTest, FailsTheBatchThatFailed) {
  fail_ = [](const FakeCall& call) {
    return call.kind == Kind::kPiece ? absl::UnknownError("broken") : absl::OkStatus();
  };
  for (const EncodedOrFailed& result : Encode({New(1), New(2)})) {
    EXPECT_EQ(result.image.status().code(), absl::StatusCode::kInternal);
  }
  EXPECT_EQ(calls_.size(), 2u);
  fail_ = nullptr;
  EXPECT_TRUE(Encode({New(1)})[0].image.ok());
}

TEST_F(ImageEncoderTest, TriesEachAloneWhenMemoryRunsOutInAnyPiece) {
  for (const Kind kind : {Kind::kBeginEncoding, Kind::kPiece}) {
    fail_ = [kind](const FakeCall& call) {
      const bool too_much = call.kind == kind && (call.who.size() > 1 || call.who[0] == 2);
      return too_much ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
    };
    const auto results = Encode({New(1), New(2), New(3)});
    EXPECT_EQ(ContentOf(results[0]), Mix(1, 1));
    EXPECT_EQ(results[1].image.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ContentOf(results[2]), Mix(3, 1));
    EXPECT_EQ(results[2].what.key, New(3).key);
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

TEST_F(ImageEncoderTest, DropsABatch) {
  encoder_.Begin({New(1)});
  encoder_.Drop();
  EXPECT_TRUE(encoder_.idle());
  EXPECT_TRUE(Encode({New(2)})[0].image.ok());
}

}  // namespace
}  // namespace llavamini
