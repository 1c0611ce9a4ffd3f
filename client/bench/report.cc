#include "client/bench/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/output.h"

namespace llavamini::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kColumns[] = {"mean", "p50", "p90", "p99", "max"};

std::string Group(const Summary& summary, int width, int decimals) {
  std::string text = " |";
  for (const double value : {summary.mean, summary.p50, summary.p90, summary.p99, summary.max}) {
    absl::StrAppendFormat(&text, " %*.*f", width, decimals, value);
  }
  return text;
}

Json ToJson(const Summary& summary) {
  return {{"count", summary.count}, {"mean", summary.mean}, {"p50", summary.p50},
          {"p90", summary.p90},     {"p99", summary.p99},   {"max", summary.max}};
}

Json ToJson(const google::protobuf::Message& message) {
  return Json::parse(client::ToJson(message));
}

Json ToJson(const Point& point) {
  Json json;
  json["mode"] = point.open_loop ? "open" : "closed";
  if (point.open_loop) {
    json["rate"] = point.load;
  } else {
    json["concurrency"] = static_cast<int64_t>(point.load);
  }
  json["duration_s"] = point.window_s;
  json["requests"] = {{"started", point.started},
                      {"answered", point.answered},
                      {"failed", point.failed},
                      {"unfinished", point.unfinished}};
  json["errors"] = point.errors;
  json["most_in_flight"] = point.most_in_flight;
  json["requests_per_s"] = point.requests_per_s;
  json["output_tokens_per_s"] = point.output_tokens_per_s;
  json["images_per_s"] = point.images_per_s;
  json["usage"] = {{"prompt_tokens", point.prompt_tokens},
                   {"completion_tokens", point.completion_tokens},
                   {"images", point.images},
                   {"cached_images", point.cached_images}};
  json["ttft_ms"] = ToJson(point.ttft);
  json["itl_ms"] = ToJson(point.itl);
  json["e2e_ms"] = ToJson(point.e2e);
  json["start_delay_ms"] = ToJson(point.start_delay);
  json["server_ms"] = {{"queue", ToJson(point.queue)},
                       {"media_decode", ToJson(point.media_decode)},
                       {"vision_encode", ToJson(point.vision_encode)},
                       {"prefill", ToJson(point.prefill)},
                       {"first_token", ToJson(point.first_token)}};
  return json;
}

template <typename Value>
Json OrNull(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json MediaJson(const RequestOptions& request, int64_t picture_bytes) {
  constexpr const char* kKinds[] = {"none", "image", "frames", "video"};
  Json json{{"kind", kKinds[static_cast<size_t>(request.media)]}};
  if (request.media == MediaKind::kVideo) json["video"] = request.video;
  if (request.media == MediaKind::kFrames) json["frames"] = request.frames;
  if (request.media == MediaKind::kImage) {
    json["repeat_share"] = request.repeat_share;
    json["distinct_images"] = request.distinct_images;
  }
  if (request.media == MediaKind::kImage || request.media == MediaKind::kFrames) {
    json["format"] = request.format == PictureFormat::kPng ? "png" : "jpeg";
    json["width"] = request.size.width;
    json["height"] = request.size.height;
    json["file_bytes"] = picture_bytes;
  }
  return json;
}

Json ParametersJson(const Arguments& arguments, const RunFacts& facts) {
  const RequestOptions& request = arguments.request;
  Json json;
  json["address"] = arguments.address;
  json["concurrency"] = arguments.concurrency;
  json["rates"] = arguments.rates;
  json["max_in_flight"] = OrNull(arguments.max_in_flight);
  json["requests"] = OrNull(arguments.requests);
  json["duration_s"] =
      arguments.duration ? Json(absl::ToDoubleSeconds(*arguments.duration)) : Json(nullptr);
  json["warmup"] = arguments.warmup;
  json["seed"] = arguments.seed;
  json["channels"] = arguments.channels;
  json["threads"] = facts.threads;
  json["timeout_s"] = absl::ToDoubleSeconds(arguments.timeout);
  json["media"] = MediaJson(request, facts.picture_bytes);
  json["prompt"] = facts.question;
  json["prompt_tokens"] = OrNull(request.prompt_tokens);
  json["max_tokens"] = request.max_tokens;
  json["ignore_eos"] = !request.respect_eos;
  json["temperature"] = request.temperature;
  json["top_p"] = OrNull(request.top_p);
  json["top_k"] = OrNull(request.top_k);
  return json;
}

}  // namespace

std::string TableHead(bool open_loop) {
  std::string head =
      absl::StrFormat("%53s | %-39s | %-39s | %-44s\n", "", "time to first token, ms",
                      "inter-token latency, ms", "end to end, ms");
  absl::StrAppendFormat(&head, "%8s %8s %7s %8s %9s %8s", open_loop ? "rate" : "streams",
                        "answered", "failed", "req/s", "tokens/s", "images/s");
  for (const int width : {7, 7, 8}) {
    absl::StrAppend(&head, " |");
    for (const char* column : kColumns) absl::StrAppendFormat(&head, " %*s", width, column);
  }
  return head;
}

std::string TableRow(const Point& point) {
  return absl::StrCat(
      absl::StrFormat("%8g %8d %7d %8.2f %9.1f %8.2f", point.load, point.answered, point.failed,
                      point.requests_per_s, point.output_tokens_per_s, point.images_per_s),
      Group(point.ttft, 7, 1), Group(point.itl, 7, 2), Group(point.e2e, 8, 1));
}

nlohmann::ordered_json ToJson(const Arguments& arguments, const RunFacts& facts,
                              const std::vector<Point>& points) {
  Json json;
  json["label"] = arguments.label;
  json["start_time"] = facts.start_time;
  json["server"] = ToJson(facts.server);
  json["model"] = ToJson(facts.model);
  json["request"] = {{"prompt_tokens", facts.request.prompt_tokens()},
                     {"vision_tokens", facts.request.vision_tokens()},
                     {"images", facts.request.images()}};
  json["parameters"] = ParametersJson(arguments, facts);
  json["percentiles"] = "nearest rank";
  json["points"] = Json::array();
  for (const Point& point : points) json["points"].push_back(ToJson(point));
  return json;
}

}  // namespace llavamini::bench
