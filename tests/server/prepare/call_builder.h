// Calls for the tests of server/prepare.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "server/prepare/chat_call.h"
#include "server/prepare/served_model.h"

namespace llavamini {

inline ImagePart ImageOf(std::string_view bytes) {
  return ImagePart{{MediaSource::Kind::kData, bytes}, Detail::kUnspecified};
}

inline FramesPart FramesOf(size_t count, std::string_view bytes) {
  FramesPart part;
  part.frames.assign(count, {MediaSource::Kind::kData, bytes});
  return part;
}

inline VideoPart VideoOf(std::string_view bytes, FrameSampling sampling = {}) {
  return VideoPart{{MediaSource::Kind::kData, bytes}, Detail::kUnspecified, sampling};
}

inline ChatMessage UserMessage(std::vector<ContentPart> content) {
  return {Role::kUser, std::move(content)};
}

// A good call: one question of text.
inline ChatCall TextCall(std::string_view text = "what is this ?") {
  ChatCall call;
  call.messages.push_back(UserMessage({TextPart{text}}));
  return call;
}

inline ServedModel SmallModel() {
  ServedModel model;
  model.name = "demo";
  model.vocab_size = 1000;
  model.max_context_tokens = 256;
  return model;
}

}  // namespace llavamini
