// Good and bad calls in one table.
#include "server/prepare/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "server/prepare/errors.h"
#include "tests/server/prepare/call_builder.h"

namespace llavamini {
namespace {

constexpr char kBytes[] = "some file";
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  std::string name;
  std::function<void(ChatCall&)> change;  // of a good call
  std::string field;                      // empty: the call is good
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.name; }

// A change that sets one parameter.
template <typename Field, typename Value>
std::function<void(ChatCall&)> Param(Field field, Value value) {
  return [=](ChatCall& call) { call.params.*field = value; };
}

std::function<void(ChatCall&)> Content(std::vector<ContentPart> content) {
  return [=](ChatCall& call) { call.messages[0].content = content; };
}

std::vector<Case> MessageCases() {
  const ContentPart text = TextPart{"what ?"};
  const auto sampled = [](FrameSampling sampling) { return Content({VideoOf(kBytes, sampling)}); };
  const MediaSource by_id{MediaSource::Kind::kMediaId, {}};
  FramesPart hole = FramesOf(3, kBytes);
  hole.frames[1] = MediaSource();
  ImagePart odd_detail = ImageOf(kBytes);
  odd_detail.detail = Detail::kUnknown;
  return {
      {"unchanged", [](ChatCall&) {}, ""},
      {"no message", [](ChatCall& c) { c.messages.clear(); }, "messages"},
      {"1025 messages", [](ChatCall& c) { c.messages.resize(1025, c.messages[0]); }, "messages"},
      {"1024 messages", [](ChatCall& c) { c.messages.resize(1024, c.messages[0]); }, ""},
      {"role not set", [](ChatCall& c) { c.messages[0].role = Role::kUnspecified; },
       "messages[0].role"},
      {"unknown role", [](ChatCall& c) { c.messages[0].role = Role::kUnknown; },
       "messages[0].role"},
      {"last is the assistant's",
       [=](ChatCall& c) {
         c.messages.push_back({Role::kAssistant, {text}});
       },
       "messages[1].role"},
      {"only a system message", [](ChatCall& c) { c.messages[0].role = Role::kSystem; },
       "messages[0].role"},
      {"system first",
       [=](ChatCall& c) {
         c.messages.insert(c.messages.begin(), {Role::kSystem, {text}});
       },
       ""},
      {"system second",
       [=](ChatCall& c) {
         c.messages.insert(c.messages.end(), 2, {Role::kSystem, {text}});
       },
       "messages[1].role"},
      {"two of the user in a row", [](ChatCall& c) { c.messages.push_back(c.messages[0]); }, ""},
      {"no content", Content({}), "messages[0].content"},
      {"empty text", Content({TextPart{""}}), "messages[0].content"},
      {"white space", Content({TextPart{" \n\t "}, TextPart{""}}), "messages[0].content"},
      {"empty text beside text", Content({TextPart{""}, text}), ""},
      {"part not set", Content({text, std::monostate()}), "messages[0].content[1]"},
      {"image alone", Content({ImageOf(kBytes)}), ""},
      {"image and text", Content({text, ImageOf(kBytes)}), ""},
      {"two images", Content({ImageOf(kBytes), ImageOf(kBytes)}), "messages[0].content[1].image"},
      {"images in two messages",
       [](ChatCall& c) {
         c.messages.resize(2, UserMessage({ImageOf(kBytes)}));
         c.messages[0] = c.messages[1];
       },
       "messages[1].content[0].image"},
      {"image and frames", Content({ImageOf(kBytes), FramesOf(1, kBytes)}),
       "messages[0].content[1].frames"},
      {"image of the assistant",
       [=](ChatCall& c) {
         c.messages.insert(c.messages.begin(), {Role::kAssistant, {ImageOf(kBytes)}});
       },
       "messages[0].content[0].image"},
      {"image of the system",
       [=](ChatCall& c) {
         c.messages.insert(c.messages.begin(), {Role::kSystem, {ImageOf(kBytes)}});
       },
       "messages[0].content[0].image"},
      {"no source", Content({ImagePart{}}), "messages[0].content[0].image.source"},
      {"empty data", Content({ImageOf("")}), "messages[0].content[0].image.source.data"},
      {"media id", Content({ImagePart{by_id, Detail::kLow}}),
       "messages[0].content[0].image.source.media_id", absl::StatusCode::kUnimplemented},
      {"unknown detail", Content({odd_detail}), "messages[0].content[0].image.detail"},
      {"video", Content({VideoOf(kBytes)}), ""},
      {"video without source", Content({VideoPart{}}), "messages[0].content[0].video.source"},
      {"video by id", Content({VideoPart{by_id}}), "messages[0].content[0].video.source.media_id",
       absl::StatusCode::kUnimplemented},
      {"video of unknown detail", Content({VideoPart{{}, Detail::kUnknown}}),
       "messages[0].content[0].video.detail"},
      {"video and image", Content({VideoOf(kBytes), ImageOf(kBytes)}),
       "messages[0].content[1].image"},
      {"sampled part", sampled({.fps = 0.1, .max_frames = 1, .start_seconds = 1, .end_seconds = 2}),
       ""},
      {"no frames a second", sampled({.fps = 0.0}), "messages[0].content[0].video.sampling.fps"},
      {"fewer than no frames a second", sampled({.fps = -1.0}),
       "messages[0].content[0].video.sampling.fps"},
      {"endless frames a second", sampled({.fps = INFINITY}),
       "messages[0].content[0].video.sampling.fps"},
      {"no number a second", sampled({.fps = NAN}), "messages[0].content[0].video.sampling.fps"},
      {"no video frames", sampled({.num_frames = 0}),
       "messages[0].content[0].video.sampling.num_frames"},
      {"at most no video frames", sampled({.max_frames = 0}),
       "messages[0].content[0].video.sampling.max_frames"},
      {"start before the file", sampled({.start_seconds = -0.5}),
       "messages[0].content[0].video.sampling.start"},
      {"end before the file", sampled({.end_seconds = -1.0}),
       "messages[0].content[0].video.sampling.end"},
      {"end at the start", sampled({.start_seconds = 2, .end_seconds = 2.0}),
       "messages[0].content[0].video.sampling.end"},
      {"one frame", Content({FramesOf(1, kBytes)}), ""},
      {"most frames", Content({FramesOf(256, kBytes)}), ""},
      {"no frames", Content({FramesOf(0, kBytes)}), "messages[0].content[0].frames.frames"},
      {"too many frames", Content({FramesOf(257, kBytes)}), "messages[0].content[0].frames.frames"},
      {"frame without source", Content({hole}), "messages[0].content[0].frames.frames[1].source"},
      {"model's name", [](ChatCall& c) { c.model = "demo"; }, ""},
      {"unknown model", [](ChatCall& c) { c.model = "other"; }, "model",
       absl::StatusCode::kNotFound},
      {"request id", [](ChatCall& c) { c.request_id = std::string(128, 'x'); }, ""},
      {"long request id", [](ChatCall& c) { c.request_id = std::string(129, 'x'); }, "request_id"},
      {"request id with a line", [](ChatCall& c) { c.request_id = "a\nb"; }, "request_id"},
      {"request id beyond ASCII", [](ChatCall& c) { c.request_id = "\xc3\xa4"; }, "request_id"},
  };
}

std::vector<Case> ParamCases() {
  using P = ChatParams;
  const auto stops = [](size_t count, size_t bytes) {
    return Param(&P::stop, std::vector<std::string>(count, std::string(bytes, 's')));
  };
  return {
      {"max_tokens 1", Param(&P::max_tokens, 1u), ""},
      {"max_tokens huge", Param(&P::max_tokens, 4294967295u), ""},
      {"max_tokens 0", Param(&P::max_tokens, 0u), "params.max_tokens"},
      {"temperature 0", Param(&P::temperature, 0.0f), ""},
      {"temperature 2", Param(&P::temperature, 2.0f), ""},
      {"temperature -0.01", Param(&P::temperature, -0.01f), "params.temperature"},
      {"temperature 2.01", Param(&P::temperature, 2.01f), "params.temperature"},
      {"temperature NaN", Param(&P::temperature, kNan), "params.temperature"},
      {"temperature infinite", Param(&P::temperature, kInfinity), "params.temperature"},
      {"top_p 1", Param(&P::top_p, 1.0f), ""},
      {"top_p tiny", Param(&P::top_p, 1e-6f), ""},
      {"top_p 0", Param(&P::top_p, 0.0f), "params.top_p"},
      {"top_p 1.1", Param(&P::top_p, 1.1f), "params.top_p"},
      {"top_p NaN", Param(&P::top_p, kNan), "params.top_p"},
      {"top_k 0", Param(&P::top_k, 0u), ""},
      {"top_k of the vocabulary", Param(&P::top_k, 1000u), ""},
      {"top_k above it", Param(&P::top_k, 1001u), "params.top_k"},
      {"min_p 0", Param(&P::min_p, 0.0f), ""},
      {"min_p 1", Param(&P::min_p, 1.0f), "params.min_p"},
      {"min_p -1", Param(&P::min_p, -1.0f), "params.min_p"},
      {"min_p NaN", Param(&P::min_p, kNan), "params.min_p"},
      {"repetition_penalty 2", Param(&P::repetition_penalty, 2.0f), ""},
      {"repetition_penalty 0", Param(&P::repetition_penalty, 0.0f), "params.repetition_penalty"},
      {"repetition_penalty 3", Param(&P::repetition_penalty, 3.0f), "params.repetition_penalty"},
      {"repetition_penalty NaN", Param(&P::repetition_penalty, kNan), "params.repetition_penalty"},
      {"frequency_penalty -2", Param(&P::frequency_penalty, -2.0f), ""},
      {"frequency_penalty 2.5", Param(&P::frequency_penalty, 2.5f), "params.frequency_penalty"},
      {"frequency_penalty NaN", Param(&P::frequency_penalty, kNan), "params.frequency_penalty"},
      {"presence_penalty 2", Param(&P::presence_penalty, 2.0f), ""},
      {"presence_penalty -2.5", Param(&P::presence_penalty, -2.5f), "params.presence_penalty"},
      {"presence_penalty NaN", Param(&P::presence_penalty, kNan), "params.presence_penalty"},
      {"16 stops of 256 bytes", stops(16, 256), ""},
      {"17 stops", stops(17, 1), "params.stop"},
      {"long stop", stops(1, 257), "params.stop[0]"},
      {"empty stop", stops(1, 0), "params.stop[0]"},
      {"top_logprobs 20",
       [](ChatCall& c) {
         c.params.logprobs = true;
         c.params.top_logprobs = 20;
       },
       ""},
      {"top_logprobs 21",
       [](ChatCall& c) {
         c.params.logprobs = true;
         c.params.top_logprobs = 21;
       },
       "params.top_logprobs"},
      {"top_logprobs alone", Param(&P::top_logprobs, 1u), "params.top_logprobs"},
  };
}

class Validation : public testing::TestWithParam<Case> {};

TEST_P(Validation, NamesTheFirstWrongField) {
  const Case& test = GetParam();
  ChatCall call = TextCall();
  test.change(call);
  const absl::Status status = ValidateCall(call, SmallModel(), CallLimits());
  if (test.field.empty()) {
    EXPECT_TRUE(status.ok()) << test.name << ": " << status;
    return;
  }
  EXPECT_EQ(status.code(), test.code) << test.name << ": " << status;
  EXPECT_EQ(ErrorDetailsOf(status).field, test.field) << test.name;
  EXPECT_FALSE(ErrorDetailsOf(status).reason.empty()) << test.name;
  EXPECT_THAT(std::string(status.message()), testing::StartsWith(test.field + ": ")) << test.name;
}

INSTANTIATE_TEST_SUITE_P(Messages, Validation, testing::ValuesIn(MessageCases()));
INSTANTIATE_TEST_SUITE_P(Params, Validation, testing::ValuesIn(ParamCases()));

TEST(Validate, BoundsAllTextsTogether) {
  const std::string half(512 * 1024, 'a');
  ChatCall call = TextCall(half);
  call.messages.push_back(UserMessage({TextPart{half}}));
  EXPECT_TRUE(ValidateCall(call, SmallModel(), CallLimits()).ok());
  call.messages[1].content.emplace_back(TextPart{"b"});
  EXPECT_EQ(ErrorDetailsOf(ValidateCall(call, SmallModel(), CallLimits())).field,
            "messages[1].content[1].text");
}

TEST(Validate, NamesTheLimitInItsMessage) {
  ChatCall call = TextCall();
  call.messages[0].content = {FramesOf(5, kBytes)};
  CallLimits limits;
  limits.max_frames = 4;
  EXPECT_THAT(std::string(ValidateCall(call, SmallModel(), limits).message()),
              testing::HasSubstr("1 to 4"));
}

TEST(Validate, DoesNotRepeatWhatTheCallerSent) {
  ChatCall call = TextCall();
  call.model = "secret-name";
  EXPECT_THAT(std::string(ValidateCall(call, SmallModel(), CallLimits()).message()),
              testing::Not(testing::HasSubstr("secret-name")));
}

}  // namespace
}  // namespace llavamini
