#include "tests/server/engine/answer_check.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace llavamini {
namespace {

class Problems {
 public:
  void Expect(bool holds, const std::string& problem) {
    if (!holds) found.push_back(problem);
  }
  std::vector<std::string> found;
};

void CheckAnswer(const TrackedRequest& request, Problems& problems) {
  const ExpectedAnswer& expected = request.expected;
  const RecordingSink& sink = *request.sink;
  problems.Expect(sink.ids == expected.ids, "other tokens than alone");
  problems.Expect(sink.text == expected.text, "other text than alone");
  problems.Expect(sink.outcome.reason == expected.reason, "ended for another reason than alone");
  problems.Expect(sink.outcome.usage.completion_tokens == expected.usage.completion_tokens,
                  "completion tokens miscounted");
}

// Of an answer that was broken off.
void CheckPrefix(const TrackedRequest& request, Problems& problems) {
  const std::vector<TokenId>& ids = request.sink->ids;
  const std::vector<TokenId>& expected = request.expected.ids;
  problems.Expect(
      ids.size() <= expected.size() && std::equal(ids.begin(), ids.end(), expected.begin()),
      "other first tokens than alone");
  problems.Expect(request.expected.text.starts_with(request.sink->text),
                  "other first text than alone");
}

void CheckStatus(const TrackedRequest& request, bool device_lost, Problems& problems) {
  const absl::StatusCode code = request.sink->outcome.status.code();
  const std::string name = absl::StatusCodeToString(code);
  if (request.MustBeRefused()) {
    const bool right = (request.device_was_lost && code == absl::StatusCode::kUnavailable) ||
                       (request.never_fits && code == absl::StatusCode::kInvalidArgument) ||
                       (request.queue_full && code == absl::StatusCode::kResourceExhausted);
    return problems.Expect(right, absl::StrCat("refused with ", name));
  }
  switch (code) {
    case absl::StatusCode::kOk:
      return problems.Expect(!request.must_end, "a failed request was answered");
    case absl::StatusCode::kCancelled:
      return problems.Expect(request.cancel_step.has_value(), "cancelled by nobody");
    case absl::StatusCode::kDeadlineExceeded:
      return problems.Expect(request.ended_at >= request.deadline, "late before its deadline");
    case absl::StatusCode::kUnavailable:
      return problems.Expect(device_lost, "unavailable though the device is there");
    default:
      problems.Expect(request.blames.contains(code), absl::StrCat("without reason: ", name));
  }
}

void CheckFigures(const TrackedRequest& request, Problems& problems) {
  const Outcome& outcome = request.sink->outcome;
  const Usage& usage = outcome.usage;
  const Usage& expected = request.expected.usage;
  problems.Expect(usage.prompt_tokens == expected.prompt_tokens &&
                      usage.vision_tokens == expected.vision_tokens &&
                      usage.images == expected.images,
                  "usage miscounted");
  problems.Expect(
      usage.cached_images >= request.known_images && usage.cached_images <= usage.images,
      "cached images miscounted");
  const Timings& timings = outcome.timings;
  const absl::Duration zero = absl::ZeroDuration();
  problems.Expect(timings.total == request.ended_at - request.arrived_at, "wrong total time");
  problems.Expect(timings.queue >= zero && timings.queue <= timings.total, "wrong queue time");
  problems.Expect(timings.first_token <= timings.total, "wrong time of the first token");
  if (!request.sink->ids.empty()) {
    problems.Expect(
        timings.first_token >= timings.queue + timings.vision_encode + timings.prefill &&
            timings.prefill > zero,
        "prefill takes time, between queue, images and first token");
  }
}

}  // namespace

bool TrackedRequest::WaitsForImage(const World& world, uint64_t content) const {
  if (ended() || prefilled) return false;
  return std::any_of(spec.images.begin(), spec.images.end(), [&](size_t place) {
    const WorldImage& image = world.images[place];
    return image.content == content || Mix(image.content, image.resolution_ratio) == content;
  });
}

absl::StatusCode ModelFailureCode(const absl::Status& failure) {
  if (absl::IsAborted(failure)) return absl::StatusCode::kUnavailable;
  return absl::IsResourceExhausted(failure) ? failure.code() : absl::StatusCode::kInternal;
}

std::vector<std::string> ProblemsOf(const TrackedRequest& request, bool device_lost) {
  Problems problems;
  const RecordingSink& sink = *request.sink;
  problems.found = sink.problems;
  problems.Expect(sink.finished == 1, absl::StrCat("ended ", sink.finished, " times"));
  CheckStatus(request, device_lost, problems);
  CheckFigures(request, problems);
  if (sink.outcome.status.ok()) {
    CheckAnswer(request, problems);
  } else {
    CheckPrefix(request, problems);
  }
  problems.Expect(sink.logprob_ids == (request.spec.logprobs ? sink.ids : std::vector<TokenId>()),
                  "log probabilities do not go with the tokens");
  problems.Expect(request.spec.wants_progress || sink.stages.empty(),
                  "progress that nobody asked for");
  problems.Expect(!request.spec.wants_progress || !sink.stages.empty(), "no progress");
  return problems.found;
}

void CountOutcome(const TrackedRequest& request, Happenings& happenings) {
  const Outcome& outcome = request.sink->outcome;
  happenings.images += outcome.usage.images;
  happenings.cached_images += outcome.usage.cached_images;
  switch (outcome.status.code()) {
    case absl::StatusCode::kOk:
      happenings.stopped += outcome.reason == FinishReason::kStop;
      happenings.stopped_by_string += outcome.reason == FinishReason::kStopString;
      happenings.full_length += outcome.reason == FinishReason::kLength;
      break;
    case absl::StatusCode::kCancelled:
      ++happenings.cancelled;
      break;
    case absl::StatusCode::kDeadlineExceeded:
      ++happenings.late;
      break;
    case absl::StatusCode::kInvalidArgument:
      ++happenings.never_fits;
      break;
    case absl::StatusCode::kUnavailable:
      ++happenings.device_lost;
      break;
    case absl::StatusCode::kInternal:
      ++happenings.failed;
      break;
    default:
      ++(request.queue_full ? happenings.queue_full : happenings.out_of_memory);
      break;
  }
}

}  // namespace llavamini
