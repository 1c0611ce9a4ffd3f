// A preparer over the demo's tokenizer and pictures, and a pool of two threads.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "server/prepare/prepare.h"
#include "tests/server/prepare/call_builder.h"

namespace llavamini {

inline std::string ReadFile(const std::string& name) {
  std::ifstream file(std::string(LLAVAMINI_SOURCE_DIR "/") + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

class PrepareTest : public testing::Test {
 protected:
  PrepareTest()
      : tokenizer_(*Tokenizer::Load(LLAVAMINI_SOURCE_DIR "/demo/checkpoint/tokenizer.json", 1000)),
        picture_(ReadFile("demo/samples/shapes-1.png")) {}

  Preparer MakePreparer() {
    return {&model_, &limits_, *ChatTemplate::Create(*tokenizer_),
            ImagePreparer(&model_, &limits_, &cache_, memory_, &pool_)};
  }
  absl::StatusOr<PreparedCall> Prepare(const ChatCall& call) {
    return MakePreparer().Prepare(call, interrupt_, nullptr);
  }
  ChatCall PictureCall(Detail detail = Detail::kUnspecified) {
    ChatCall call = TextCall();
    ImagePart image = ImageOf(picture_);
    image.detail = detail;
    call.messages[0].content.insert(call.messages[0].content.begin(), image);
    return call;
  }

  ChatCall VideoCall(std::string_view bytes, FrameSampling sampling = {}) {
    ChatCall call = TextCall();
    VideoPart video = VideoOf(bytes);
    video.sampling = sampling;
    call.messages[0].content.emplace_back(video);
    return call;
  }

  std::unique_ptr<const Tokenizer> tokenizer_;
  std::string picture_;
  ServedModel model_ = SmallModel();
  CallLimits limits_;
  ImageCache cache_{1 << 20};
  std::shared_ptr<MemoryBudget> memory_ = MemoryBudget::Create(64 << 20);
  PreparePool pool_{/*threads=*/2, /*max_queue=*/1};
  Interrupt interrupt_{std::make_shared<std::atomic<bool>>(false), absl::InfiniteFuture()};
};

}  // namespace llavamini
