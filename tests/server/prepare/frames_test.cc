// Preparing a sequence of frames, which the pool's threads share.
#include <vector>

#include "server/prepare/image_key.h"
#include "tests/server/prepare/prepare_fixture.h"

namespace llavamini {
namespace {

TEST_F(PrepareTest, CountsEveryFrameOfASequence) {
  ChatCall call = TextCall();
  call.messages[0].content.emplace_back(FramesOf(5, picture_));
  model_.tokens_per_image = 4;
  const auto prepared = Prepare(call);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->images.size(), 5u);
  EXPECT_EQ(prepared->vision_tokens, 20);
  EXPECT_EQ(prepared->prompt_tokens, static_cast<int64_t>(prepared->prompt.size()) + 19);
}

TEST_F(PrepareTest, KeepsFramesInOrderThoughThreadsShareThem) {
  const std::string other = ReadFile("demo/samples/sign-word.png");
  FramesPart frames = FramesOf(40, picture_);
  for (size_t i = 0; i < 40; i += 3) frames.frames[i].bytes = other;
  ChatCall call = TextCall();
  call.messages[0].content.emplace_back(frames);
  const auto prepared = Prepare(call);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const std::vector<PreparedImage>& images = prepared->images;
  ASSERT_EQ(images.size(), 40u);
  for (size_t i = 0; i < 40; ++i) {
    const size_t same = i % 3 == 0 ? 0 : 1;
    EXPECT_EQ(images[i].key,
              MakeImageKey(frames.frames[i].bytes, PictureKind::kFrame, {1, 336, true}));
    EXPECT_EQ(images[i].input->parts, images[same].input->parts);
  }
}

TEST_F(PrepareTest, NamesTheFirstBrokenFrame) {
  FramesPart frames = FramesOf(40, picture_);
  for (size_t i = 7; i < 40; ++i) frames.frames[i].bytes = "broken";
  ChatCall call = TextCall();
  call.messages[0].content.emplace_back(frames);
  const absl::Status status = Prepare(call).status();
  EXPECT_THAT(status.ToString(), testing::HasSubstr("frames[7].source"));
}

}  // namespace
}  // namespace llavamini
