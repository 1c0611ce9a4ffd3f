// Preparing calls with the demo's tokenizer and pictures: keys, limits, lengths, what is kept of
// memory.
#include "server/prepare/prepare.h"

#include <memory>
#include <set>
#include <string>

#include "server/prepare/errors.h"
#include "server/prepare/image_key.h"
#include "server/prepare/validate_params.h"
#include "tests/server/prepare/prepare_fixture.h"

namespace llavamini {
namespace {

class SmallImage final : public EncodedImage {
 public:
  size_t bytes() const override { return 100; }
};

TEST_F(PrepareTest, PutsOnePlaceholderForAPicture) {
  const auto prepared = Prepare(PictureCall());
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(std::count(prepared->prompt.begin(), prepared->prompt.end(), kImagePlaceholder), 1);
  ASSERT_EQ(prepared->images.size(), 1u);
  ASSERT_NE(prepared->images[0].input, nullptr);
  EXPECT_EQ(prepared->images[0].input->parts.size(), 336u * 336 * 3);
  EXPECT_EQ(prepared->prompt_tokens, static_cast<int64_t>(prepared->prompt.size()));
}

TEST_F(PrepareTest, TakesDetailFromTheCallOrTheCheckpoint) {
  const auto ratio = [this](Detail detail) {
    return Prepare(PictureCall(detail))->images.at(0).input->resolution_ratio;
  };
  EXPECT_EQ(ratio(Detail::kUnspecified), 1);
  EXPECT_EQ(ratio(Detail::kHigh), 2);
  model_.resolution_ratio = 2;
  EXPECT_EQ(ratio(Detail::kUnspecified), 2);
  EXPECT_EQ(ratio(Detail::kLow), 1);
}

TEST_F(PrepareTest, SkipsDecodingWhatTheCacheHas) {
  const ImageInputOptions options = {1, 336, true};
  cache_.Insert(MakeImageKey(picture_, PictureKind::kStill, options),
                std::make_shared<SmallImage>());
  const auto prepared = Prepare(PictureCall());
  ASSERT_TRUE(prepared.ok());
  EXPECT_NE(prepared->images[0].encoded, nullptr);
  EXPECT_EQ(prepared->images[0].input, nullptr);
}

TEST_F(PrepareTest, TakesOneFrameASecondOfAVideo) {
  const std::string video = ReadFile("demo/samples/moves.mp4");  // 8 seconds
  model_.tokens_per_image = 2;
  const auto prepared = Prepare(VideoCall(video));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  ASSERT_EQ(prepared->images.size(), 8u);
  EXPECT_EQ(std::count(prepared->prompt.begin(), prepared->prompt.end(), kImagePlaceholder), 1);
  EXPECT_EQ(prepared->vision_tokens, 16);
  EXPECT_EQ(prepared->prompt_tokens, static_cast<int64_t>(prepared->prompt.size()) + 15);
  std::set<ImageKey> keys;
  for (const PreparedImage& image : prepared->images) {
    ASSERT_NE(image.input, nullptr);
    EXPECT_EQ(image.input->parts.size(), 336u * 336 * 3);
    keys.insert(image.key);
  }
  EXPECT_EQ(keys.size(), 8u);
  const auto measure = MakePreparer().Measure(VideoCall(video), interrupt_);
  ASSERT_TRUE(measure.ok()) << measure.status();
  EXPECT_EQ(measure->images, 8);
  EXPECT_EQ(measure->prompt_tokens, prepared->prompt_tokens);
}

TEST_F(PrepareTest, SamplesAVideoAsAskedWithinTheServersLimit) {
  const std::string video = ReadFile("demo/samples/moves.mp4");
  const auto frames = [&](FrameSampling sampling) {
    const auto measure = MakePreparer().Measure(VideoCall(video, sampling), interrupt_);
    EXPECT_TRUE(measure.ok()) << measure.status();
    return measure->images;
  };
  EXPECT_EQ(frames({.fps = 2.0}), 16);
  EXPECT_EQ(frames({.num_frames = 3}), 3);
  EXPECT_EQ(frames({.start_seconds = 2, .end_seconds = 5}), 3);
  limits_.max_frames = 5;
  EXPECT_EQ(frames({}), 5);
  const absl::Status late = Prepare(VideoCall(video, {.start_seconds = 9})).status();
  EXPECT_EQ(ErrorDetailsOf(late).field, "messages[0].content[1].video.sampling");
}

TEST_F(PrepareTest, DecodesOfAVideoOnlyWhatTheCacheLacks) {
  const std::string video = ReadFile("demo/samples/moves.mp4");
  const auto first = Prepare(VideoCall(video));
  ASSERT_TRUE(first.ok());
  cache_.Insert(first->images[2].key, std::make_shared<SmallImage>());
  const auto second = Prepare(VideoCall(video));
  ASSERT_TRUE(second.ok());
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(second->images[i].encoded != nullptr, i == 2) << i;
    if (i == 2) continue;
    EXPECT_EQ(second->images[i].key, first->images[i].key) << i;
    EXPECT_EQ(second->images[i].input->parts, first->images[i].input->parts) << i;
  }
  VideoPart high = VideoOf(video);
  high.detail = Detail::kHigh;
  ChatCall call = TextCall();
  call.messages[0].content.emplace_back(high);
  EXPECT_NE(Prepare(call)->images[2].key, first->images[2].key);
}

TEST_F(PrepareTest, NamesTheFieldOfABadVideo) {
  const std::string video = ReadFile("demo/samples/moves.mp4");
  const std::string text = "GIF89a and more";
  const std::string cut = video.substr(0, video.size() / 2);
  const std::string large = video + std::string(64 << 20, '\0');
  const std::pair<std::string, std::string> cases[] = {
      {text, "MEDIA_UNSUPPORTED"}, {cut, "MEDIA_CORRUPT"}, {large, "MEDIA_TOO_LARGE"}};
  for (const auto& [bytes, reason] : cases) {
    const absl::Status status = Prepare(VideoCall(bytes)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << reason;
    EXPECT_EQ(ErrorDetailsOf(status).reason, reason);
    EXPECT_EQ(ErrorDetailsOf(status).field, "messages[0].content[1].video.source");
  }
}

TEST_F(PrepareTest, RefusesAVideoOfMoreTokensThanTheContext) {
  const std::string video = ReadFile("demo/samples/moves.mp4");
  model_.tokens_per_image = 32;
  EXPECT_EQ(ErrorDetailsOf(Prepare(VideoCall(video)).status()).reason, "CONTEXT_LENGTH_EXCEEDED");
}

TEST_F(PrepareTest, NamesTheFieldOfBadMedia) {
  const std::string text = "GIF89a and more";
  const std::string cut = picture_.substr(0, picture_.size() / 2);
  const std::string large = picture_ + std::string(11 << 20, '\0');
  const std::pair<std::string, std::string> cases[] = {
      {text, "MEDIA_UNSUPPORTED"}, {cut, "MEDIA_CORRUPT"}, {large, "MEDIA_TOO_LARGE"}};
  for (const auto& [bytes, reason] : cases) {
    ChatCall call = TextCall();
    call.messages[0].content.emplace_back(FramesOf(1, bytes));
    const absl::Status status = Prepare(call).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << reason;
    EXPECT_EQ(ErrorDetailsOf(status).reason, reason);
    EXPECT_EQ(ErrorDetailsOf(status).field, "messages[0].content[1].frames.frames[0].source");
  }
}

TEST_F(PrepareTest, RefusesAPromptLongerThanTheContext) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "what ";
  const absl::Status status = Prepare(TextCall(text)).status();
  const ErrorDetails details = ErrorDetailsOf(status);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(details.reason, "CONTEXT_LENGTH_EXCEEDED");
  EXPECT_EQ(details.metadata.at("limit"), "256");
  EXPECT_GE(std::stoi(details.metadata.at("length")), 300);
}

TEST_F(PrepareTest, NeedsRoomForOneTokenOfAnswer) {
  const int64_t length = MakePreparer().Measure(TextCall(), interrupt_)->prompt_tokens;
  model_.max_context_tokens = length;
  EXPECT_FALSE(Prepare(TextCall()).ok());
  model_.max_context_tokens = length + 1;
  auto prepared = Prepare(TextCall());
  ASSERT_TRUE(prepared.ok());
  EXPECT_EQ(MakePreparer().MakeRequest(TextCall(), *std::move(prepared))->max_tokens, 1);
}

TEST_F(PrepareTest, ClipsMaxTokensToTheContext) {
  ChatCall call = TextCall();
  const int64_t room = 256 - MakePreparer().Measure(call, interrupt_)->prompt_tokens;
  EXPECT_EQ(MakePreparer().MakeRequest(call, *Prepare(call))->max_tokens, room);  // default 512
  call.params.max_tokens = 100000;
  EXPECT_EQ(MakePreparer().MakeRequest(call, *Prepare(call))->max_tokens, room);
  call.params.max_tokens = 3;
  EXPECT_EQ(MakePreparer().MakeRequest(call, *Prepare(call))->max_tokens, 3);
}

TEST_F(PrepareTest, StopsWhenCancelledOrLate) {
  interrupt_.cancelled->store(true);
  EXPECT_TRUE(absl::IsCancelled(Prepare(PictureCall()).status()));
  interrupt_.cancelled->store(false);
  interrupt_.deadline = absl::InfinitePast();
  EXPECT_TRUE(absl::IsDeadlineExceeded(Prepare(PictureCall()).status()));
}

TEST_F(PrepareTest, GivesMemoryBackWithThePictures) {
  memory_ = MemoryBudget::Create(336 * 336 * 3 + 10);
  {
    const auto first = Prepare(PictureCall());
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(memory_->free_bytes(), 10);
    const absl::Status second = Prepare(PictureCall(Detail::kLow)).status();
    EXPECT_EQ(ErrorDetailsOf(second).reason, "QUEUE_FULL");
  }
  EXPECT_EQ(memory_->free_bytes(), 336 * 336 * 3 + 10);
}

TEST(ImageKeyTest, DiffersByBytesKindAndEveryOption) {
  const ImageKey video = MakeImageKey("a", PictureKind::kVideo, {1, 336, true});
  const std::set<ImageKey> keys = {
      video,
      FrameKey(video, 0),
      FrameKey(video, 1),
      FrameKey(MakeImageKey("a", PictureKind::kVideo, {2, 336, true}), 0),
      MakeImageKey("a", PictureKind::kStill, {1, 336, true}),
      MakeImageKey("b", PictureKind::kStill, {1, 336, true}),
      MakeImageKey("a", PictureKind::kFrame, {1, 336, true}),
      MakeImageKey("a", PictureKind::kStill, {2, 336, true}),
      MakeImageKey("a", PictureKind::kStill, {1, 224, true}),
      MakeImageKey("a", PictureKind::kStill, {1, 336, false}),
  };
  EXPECT_EQ(keys.size(), 10u);
  EXPECT_EQ(MakeImageKey("a", PictureKind::kStill, {1, 336, true}),
            MakeImageKey("a", PictureKind::kStill, {1, 336, true}));
}

TEST(CompleteParamsTest, TakesWhatIsUnsetFromTheCheckpoint) {
  GenerationDefaults defaults;
  defaults.temperature = 0.6f;
  defaults.top_p = 0.9f;
  defaults.top_k = 40;
  ChatParams params;
  params.temperature = 0.0f;
  const SamplingParams sampling = CompleteParams(params, defaults, 77);
  EXPECT_EQ(sampling.temperature, 0.0f);
  EXPECT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.seed, 77u);
  params.seed = 0;
  EXPECT_EQ(CompleteParams(params, defaults, 77).seed, 0u);
}

}  // namespace
}  // namespace llavamini
