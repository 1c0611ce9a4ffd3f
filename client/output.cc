#include "client/output.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "google/protobuf/util/json_util.h"

namespace llavamini::client {
namespace {

double Milliseconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) * 1e3 + duration.nanos() * 1e-6;
}

const char* EndText(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "the model";
    case v1::FINISH_REASON_STOP_STRING:
      return "a stop string";
    case v1::FINISH_REASON_LENGTH:
      return "max tokens or a full context";
    default:
      return "unknown";
  }
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string printable(text);
  std::replace_if(
      printable.begin(), printable.end(),
      [](char each) {
        const auto byte = static_cast<unsigned char>(each);
        return (byte < 0x20 && each != '\n' && each != '\t') || byte == 0x7f;
      },
      '?');
  return printable;
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "{}";
}

std::string ModelLine(const v1::Model& model) {
  return absl::StrFormat(
      "%s: %.1f million parameters, %s, context of %d tokens, %d per picture; at most %d images or "
      "%d frames a request",
      model.name(), static_cast<double>(model.parameters()) * 1e-6, model.dtype(),
      model.max_context_tokens(), model.tokens_per_image(), model.max_images(), model.max_frames());
}

std::string InfoText(const v1::ServerInfo& info) {
  const absl::Time start = absl::FromUnixSeconds(info.start_time().seconds());
  return absl::StrFormat(
      "version    %s\n"
      "device     %s\n"
      "started    %s\n"
      "running    %d\n"
      "waiting    %d of %d\n"
      "key-value  %.1f %% in use\n"
      "message    at most %d bytes",
      info.version(), info.device(),
      absl::FormatTime(absl::RFC3339_sec, start, absl::LocalTimeZone()), info.running_requests(),
      info.waiting_requests(), info.max_waiting_requests(), info.kv_cache_usage() * 100,
      info.max_message_bytes());
}

std::string CountLine(const v1::CountTokensResponse& count) {
  return absl::StrFormat(
      "%d prompt tokens (%d of them vision tokens, %d pictures), room for %d more",
      count.usage().prompt_tokens(), count.usage().vision_tokens(), count.usage().images(),
      count.remaining_tokens());
}

std::string TimingsText(const v1::Finished& finished) {
  const v1::Usage& usage = finished.usage();
  const v1::Timings& timings = finished.timings();
  std::string text = absl::StrFormat(
      "first token %.1f ms, total %.1f ms (queue %.1f, media %.1f, vision %.1f, prefill %.1f)\n"
      "%d prompt tokens (%d vision, %d of %d pictures cached), %d generated",
      Milliseconds(timings.first_token()), Milliseconds(timings.total()),
      Milliseconds(timings.queue()), Milliseconds(timings.media_decode()),
      Milliseconds(timings.vision_encode()), Milliseconds(timings.prefill()), usage.prompt_tokens(),
      usage.vision_tokens(), usage.cached_images(), usage.images(), usage.completion_tokens());
  const double decode = Milliseconds(timings.total()) - Milliseconds(timings.first_token());
  if (usage.completion_tokens() > 1 && decode > 0) {
    absl::StrAppendFormat(&text, " (%.1f tokens/s after the first)",
                          (usage.completion_tokens() - 1) * 1e3 / decode);
  }
  return absl::StrCat(text, "; ended by ", EndText(finished.finish_reason()));
}

std::string LogprobLine(const v1::TokenLogprob& token) {
  std::string line =
      absl::StrFormat("%9.4f  \"%s\"", token.logprob(), absl::CHexEscape(token.token()));
  for (const v1::TokenLogprob& other : token.top_logprobs()) {
    absl::StrAppendFormat(&line, "  %.4f \"%s\"", other.logprob(), absl::CHexEscape(other.token()));
  }
  return line;
}

}  // namespace llavamini::client
