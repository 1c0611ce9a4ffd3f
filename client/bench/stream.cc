#include "client/bench/stream.h"

#include <algorithm>
#include <chrono>

namespace llavamini::bench {
namespace {

constexpr uint32_t kMostReservedGaps = 4096;

float Milliseconds(const google::protobuf::Duration& duration) {
  return static_cast<float>(static_cast<double>(duration.seconds()) * 1e3 +
                            duration.nanos() * 1e-6);
}

}  // namespace

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Stream::Stream(int index, v1::ChatService::Stub* stub, grpc::CompletionQueue* queue,
               const Workload* workload)
    : index_(index), stub_(stub), queue_(queue), workload_(workload), request_(workload->Blank()) {
  gaps_ms_.reserve(std::min(workload->max_tokens(), kMostReservedGaps));
}

bool Stream::Start(const Turn& turn, int64_t due_ns, absl::Duration timeout,
                   const std::atomic<bool>& stopped) {
  workload_->Fill(turn, &request_);
  absl::MutexLock lock(&mutex_);
  if (stopped) return false;
  gaps_ms_.clear();
  reader_.reset();  // before the context that it refers to
  context_.emplace();
  context_->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(timeout));
  state_ = State::kStarting;
  const int64_t now = Now();
  sample_ = {.due_ns = due_ns == 0 ? now : due_ns, .start_ns = now};
  reader_ = stub_->PrepareAsyncStreamChat(&*context_, request_, queue_);
  reader_->StartCall(this);  // from here on another thread may take events
  return true;
}

bool Stream::Rest(absl::Duration duration, const std::atomic<bool>& stopped) {
  absl::MutexLock lock(&mutex_);
  if (stopped) return false;
  state_ = State::kResting;
  alarm_.emplace();
  alarm_->Set(queue_, std::chrono::system_clock::now() + absl::ToChronoMicroseconds(duration),
              this);
  return true;
}

Stream::Event Stream::Proceed(bool ok) {
  const int64_t now = Now();
  switch (state_) {
    case State::kStarting:
      break;
    case State::kReading:
      if (ok) TakeEvent(now);
      break;
    case State::kFinishing:
      sample_.end_ns = now;
      sample_.code = status_.error_code();
      return Event::kCallEnded;
    case State::kResting:
      return Event::kRested;
  }
  if (ok) {
    state_ = State::kReading;
    reader_->Read(&event_, this);
  } else {
    state_ = State::kFinishing;
    reader_->Finish(&status_, this);
  }
  return Event::kGoesOn;
}

void Stream::Cancel() {
  absl::MutexLock lock(&mutex_);
  if (context_) context_->TryCancel();
  if (alarm_) alarm_->Cancel();
}

void Stream::TakeEvent(int64_t now) {
  if (event_.has_delta()) {
    TakeDelta(event_.delta(), now);
  } else if (event_.has_finished()) {
    TakeFinished(event_.finished());
  }
}

void Stream::TakeDelta(const v1::Delta& delta, int64_t now) {
  const int tokens = delta.token_ids_size();
  if (sample_.first_ns == 0) {
    sample_.first_ns = now;
  } else if (tokens > 0) {
    const auto gap_ms =
        static_cast<float>(static_cast<double>(now - last_token_ns_) * 1e-6 / tokens);
    gaps_ms_.insert(gaps_ms_.end(), static_cast<size_t>(tokens), gap_ms);
  } else {
    return;  // text alone, of tokens that were counted before
  }
  last_token_ns_ = now;
}

void Stream::TakeFinished(const v1::Finished& finished) {
  const v1::Usage& usage = finished.usage();
  sample_.prompt_tokens = usage.prompt_tokens();
  sample_.completion_tokens = usage.completion_tokens();
  sample_.images = usage.images();
  sample_.cached_images = usage.cached_images();
  const v1::Timings& timings = finished.timings();
  sample_.queue_ms = Milliseconds(timings.queue());
  sample_.media_decode_ms = Milliseconds(timings.media_decode());
  sample_.vision_encode_ms = Milliseconds(timings.vision_encode());
  sample_.prefill_ms = Milliseconds(timings.prefill());
  sample_.first_token_ms = Milliseconds(timings.first_token());
}

}  // namespace llavamini::bench
