#include "server/rpc/pending_events.h"

#include <utility>

#include "server/rpc/convert.h"

namespace llavamini {
namespace {

// A stage's place in time: media are decoded before the engine queues the call.
int PlaceOf(const v1::Progress& progress) {
  switch (progress.stage()) {
    case v1::STAGE_DECODING_MEDIA:
      return 1;
    case v1::STAGE_QUEUED:
      return 2;
    case v1::STAGE_ENCODING_VISION:
      return 3;
    case v1::STAGE_PREFILL:
      return 4;
    default:
      return 0;
  }
}

bool IsSame(const v1::Progress& a, const v1::Progress& b) {
  return a.stage() == b.stage() && a.done() == b.done() && a.total() == b.total();
}

int64_t BytesOf(const Delta& delta) {
  constexpr int64_t kBytesPerLogprob = 48;
  int64_t bytes =
      static_cast<int64_t>(delta.text.size() + delta.token_ids.size() * sizeof(TokenId));
  for (const SampledToken& token : delta.logprobs) {
    bytes += kBytesPerLogprob * static_cast<int64_t>(1 + token.top.size());
  }
  return bytes;
}

}  // namespace

PendingEvents::PendingEvents(v1::Started started, bool include_progress, const Tokenizer* tokenizer)
    : include_progress_(include_progress), tokenizer_(tokenizer), started_(std::move(started)) {}

void PendingEvents::AddProgress(Stage stage, int64_t done, int64_t total) {
  if (start_ == Start::kNotDue) start_ = Start::kDue;
  v1::Progress progress;
  progress.set_stage(ToProto(stage));
  progress.set_done(static_cast<uint32_t>(done));
  progress.set_total(static_cast<uint32_t>(total));
  const bool late = had_delta_ || PlaceOf(progress) < PlaceOf(last_progress_);
  if (!include_progress_ || late || IsSame(progress, last_progress_)) return;
  if (!progress_.empty() && progress_.back().stage() == progress.stage()) progress_.pop_back();
  progress_.push_back(progress);
  last_progress_ = std::move(progress);
}

void PendingEvents::AddDelta(Delta delta) {
  if (start_ == Start::kNotDue) start_ = Start::kDue;
  had_delta_ = true;
  delta_waits_ = true;
  bytes_ += BytesOf(delta);
  delta_.mutable_text()->append(delta.text);
  for (const TokenId id : delta.token_ids) delta_.add_token_ids(static_cast<uint32_t>(id));
  AddLogprobs(delta.logprobs, *tokenizer_, delta_.mutable_logprobs());
}

void PendingEvents::AddFinished(const Outcome& outcome) {
  if (start_ == Start::kNotDue) start_ = Start::kDue;
  finished_.set_finish_reason(ToProto(outcome.reason));
  *finished_.mutable_usage() = ToProto(outcome.usage);
  *finished_.mutable_timings() = ToProto(outcome.timings);
  finished_waits_ = true;
}

bool PendingEvents::TakeNext(v1::ChatEvent* event) {
  event->Clear();
  if (start_ == Start::kDue) {
    start_ = Start::kTaken;
    *event->mutable_started() = std::move(started_);
  } else if (!progress_.empty()) {
    *event->mutable_progress() = std::move(progress_.front());
    progress_.erase(progress_.begin());
  } else if (delta_waits_) {
    delta_waits_ = false;
    bytes_ = 0;
    event->mutable_delta()->Swap(&delta_);
    delta_.Clear();
  } else if (finished_waits_) {
    finished_waits_ = false;
    event->mutable_finished()->Swap(&finished_);
  } else {
    return false;
  }
  return true;
}

void PendingEvents::Clear() {
  progress_.clear();
  delta_.Clear();
  delta_waits_ = false;
  finished_waits_ = false;
  bytes_ = 0;
}

}  // namespace llavamini
