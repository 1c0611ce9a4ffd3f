// From requests to the figures of a point.
#include <algorithm>

#include "client/bench/report.h"

namespace llavamini::bench {
namespace {

const char* CodeName(grpc::StatusCode code) {
  constexpr const char* kNames[] = {"OK",
                                    "CANCELLED",
                                    "UNKNOWN",
                                    "INVALID_ARGUMENT",
                                    "DEADLINE_EXCEEDED",
                                    "NOT_FOUND",
                                    "ALREADY_EXISTS",
                                    "PERMISSION_DENIED",
                                    "RESOURCE_EXHAUSTED",
                                    "FAILED_PRECONDITION",
                                    "ABORTED",
                                    "OUT_OF_RANGE",
                                    "UNIMPLEMENTED",
                                    "INTERNAL",
                                    "UNAVAILABLE",
                                    "DATA_LOSS",
                                    "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "OTHER";
}

float Milliseconds(int64_t from_ns, int64_t to_ns) {
  return static_cast<float>(static_cast<double>(to_ns - from_ns) * 1e-6);
}

// One value of each sample.
template <typename Value>
Summary SummariseEach(const std::vector<Sample>& samples, Value value) {
  std::vector<float> values;
  values.reserve(samples.size());
  for (const Sample& sample : samples) values.push_back(value(sample));
  return Summarise(std::move(values));
}

// Counts every request; gives the answered ones.
std::vector<Sample> Count(const std::vector<Sample>& samples, bool stopped, Point& point) {
  std::vector<Sample> answered;
  answered.reserve(samples.size());
  point.started = std::ssize(samples);
  for (const Sample& sample : samples) {
    if (sample.code == grpc::StatusCode::OK) {
      answered.push_back(sample);
      point.prompt_tokens += sample.prompt_tokens;
      point.completion_tokens += sample.completion_tokens;
      point.images += sample.images;
      point.cached_images += sample.cached_images;
    } else if (stopped && sample.code == grpc::StatusCode::CANCELLED) {
      ++point.unfinished;
    } else {
      ++point.failed;
      ++point.errors[CodeName(sample.code)];
    }
  }
  point.answered = std::ssize(answered);
  return answered;
}

void SetRates(const std::vector<Sample>& samples, const std::vector<Sample>& answered,
              Point& point) {
  if (answered.empty()) return;
  const auto due = [](const Sample& sample) { return sample.due_ns; };
  const auto end = [](const Sample& sample) { return sample.end_ns; };
  const int64_t begin_ns = std::ranges::min(samples, {}, due).due_ns;
  const int64_t end_ns = std::ranges::max(answered, {}, end).end_ns;
  point.window_s = static_cast<double>(end_ns - begin_ns) * 1e-9;
  if (point.window_s <= 0) return;
  point.requests_per_s = static_cast<double>(point.answered) / point.window_s;
  point.output_tokens_per_s = static_cast<double>(point.completion_tokens) / point.window_s;
  point.images_per_s = static_cast<double>(point.images) / point.window_s;
}

}  // namespace

Point Measure(bool open_loop, double load, const LoadResult& result, bool stopped) {
  Point point;
  point.open_loop = open_loop;
  point.load = load;
  point.most_in_flight = result.most_in_flight;
  const std::vector<Sample> answered = Count(result.samples, stopped, point);
  SetRates(result.samples, answered, point);
  std::vector<Sample> with_text;
  std::ranges::copy_if(answered, std::back_inserter(with_text),
                       [](const Sample& sample) { return sample.first_ns != 0; });
  point.ttft = SummariseEach(
      with_text, [](const Sample& sample) { return Milliseconds(sample.due_ns, sample.first_ns); });
  point.itl = Summarise(result.gaps_ms);
  point.e2e = SummariseEach(
      answered, [](const Sample& sample) { return Milliseconds(sample.due_ns, sample.end_ns); });
  point.start_delay = SummariseEach(
      answered, [](const Sample& sample) { return Milliseconds(sample.due_ns, sample.start_ns); });
  point.queue = SummariseEach(answered, [](const Sample& sample) { return sample.queue_ms; });
  point.media_decode =
      SummariseEach(answered, [](const Sample& sample) { return sample.media_decode_ms; });
  point.vision_encode =
      SummariseEach(answered, [](const Sample& sample) { return sample.vision_encode_ms; });
  point.prefill = SummariseEach(answered, [](const Sample& sample) { return sample.prefill_ms; });
  point.first_token =
      SummariseEach(answered, [](const Sample& sample) { return sample.first_token_ms; });
  return point;
}

}  // namespace llavamini::bench
