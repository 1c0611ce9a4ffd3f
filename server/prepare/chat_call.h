// A chat call as plain data, whatever interface it came by. Nothing in it has been checked (see
// validate.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "server/media/video_sampling.h"

namespace llavamini {

// kUnknown: a number that the contract does not define.
enum class Role { kUnspecified, kSystem, kUser, kAssistant, kUnknown };
enum class Detail { kUnspecified, kLow, kHigh, kUnknown };

// Where an image or a video comes from; `bytes` when the kind is kData.
struct MediaSource {
  enum class Kind { kMissing, kData, kMediaId };
  Kind kind = Kind::kMissing;
  std::string_view bytes;
};

struct TextPart {
  std::string_view text;
};

struct ImagePart {
  MediaSource source;
  Detail detail = Detail::kUnspecified;
};

struct VideoPart {
  MediaSource source;
  Detail detail = Detail::kUnspecified;
  FrameSampling sampling = {};
};

struct FramesPart {
  std::vector<MediaSource> frames;  // in time order
  Detail detail = Detail::kUnspecified;
};

// std::monostate: a part of no kind that the contract defines.
using ContentPart = std::variant<std::monostate, TextPart, ImagePart, VideoPart, FramesPart>;

struct ChatMessage {
  Role role = Role::kUnspecified;
  std::vector<ContentPart> content;
};

// As the contract's GenerationParams; an empty optional takes the checkpoint's default.
struct ChatParams {
  std::optional<uint32_t> max_tokens;
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<uint32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> frequency_penalty;
  std::optional<float> presence_penalty;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool logprobs = false;
  uint32_t top_logprobs = 0;
};

struct ChatCall {
  std::shared_ptr<const void> storage;  // keeps alive what the views below point to
  std::string_view model;
  std::vector<ChatMessage> messages;
  ChatParams params;
  std::string request_id;
  bool include_progress = false;
  absl::Time deadline = absl::InfiniteFuture();
};

}  // namespace llavamini
