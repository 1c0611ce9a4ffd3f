// A server of canned answers that keeps what it was asked.
#pragma once

#include <grpcpp/server_context.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "llavamini/v1/chat.grpc.pb.h"

namespace llavamini::bench {

inline constexpr uint32_t kVisionTokens = 3;

// Answers with max_tokens tokens: one in the first delta, then two a delta. A prompt has 10 tokens,
// one for each space and three for a picture.
class FakeChat : public v1::ChatService::Service {
 public:
  grpc::Status StreamChat(grpc::ServerContext* context, const v1::ChatRequest* request,
                          grpc::ServerWriter<v1::ChatEvent>* writer) override {
    uint64_t place = 0;
    {
      absl::MutexLock lock(&mutex_);
      requests_.push_back(*request);
      place = requests_.size();
      most_at_once_ = std::max(most_at_once_, ++at_once_);
    }
    AwaitRequests(gather);
    const grpc::Status status = Answer(place, *context, *request, *writer);
    absl::MutexLock lock(&mutex_);
    --at_once_;
    return status;
  }

  grpc::Status CountTokens(grpc::ServerContext*, const v1::ChatRequest* request,
                           v1::CountTokensResponse* response) override {
    *response->mutable_usage() = Count(*request);
    return grpc::Status::OK;
  }

  std::vector<v1::ChatRequest> requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  int most_at_once() const {
    absl::MutexLock lock(&mutex_);
    return most_at_once_;
  }
  void AwaitRequests(size_t count) const {
    const auto arrived = [this, count]()
                             ABSL_NO_THREAD_SAFETY_ANALYSIS { return requests_.size() >= count; };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&arrived));
  }

  // Set before a run.
  size_t gather = 0;        // nothing is answered before so many requests have come
  uint64_t fail_every = 0;  // 3: the third, the sixth, ... request
  grpc::StatusCode failure = grpc::StatusCode::RESOURCE_EXHAUSTED;
  absl::Duration work = absl::Milliseconds(2);
  absl::Duration retry = absl::Milliseconds(1);  // what a failure asks for
  bool hang = false;                             // until cancelled

 private:
  static v1::Usage Count(const v1::ChatRequest& request) {
    v1::Usage usage;
    uint32_t tokens = 10;
    for (const v1::Message& message : request.messages()) {
      for (const v1::ContentPart& part : message.content()) {
        tokens += static_cast<uint32_t>(std::count(part.text().begin(), part.text().end(), ' '));
        usage.set_images(usage.images() + (part.has_image() ? 1 : 0));
      }
    }
    usage.set_vision_tokens(usage.images() * kVisionTokens);
    usage.set_prompt_tokens(tokens + usage.vision_tokens());
    return usage;
  }

  grpc::Status Failure() const {
    google::rpc::RetryInfo info;
    info.mutable_retry_delay()->set_seconds(retry / absl::Seconds(1));
    info.mutable_retry_delay()->set_nanos(
        static_cast<int32_t>(absl::ToInt64Nanoseconds(retry % absl::Seconds(1))));
    google::rpc::Status details;
    details.add_details()->PackFrom(info);
    return {failure, "full", details.SerializeAsString()};
  }

  grpc::Status Answer(uint64_t place, grpc::ServerContext& context, const v1::ChatRequest& request,
                      grpc::ServerWriter<v1::ChatEvent>& writer) {
    if (fail_every > 0 && place % fail_every == 0) return Failure();
    v1::ChatEvent event;
    event.mutable_started();
    writer.Write(event);
    while (hang && !context.IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    absl::SleepFor(work);
    const uint32_t tokens = request.params().max_tokens();
    for (uint32_t sent = 0; sent < tokens;) {
      v1::Delta* delta = event.mutable_delta();
      delta->Clear();
      delta->set_text("word ");
      for (uint32_t most = sent == 0 ? 1 : 2; most > 0 && sent < tokens; --most, ++sent) {
        delta->add_token_ids(sent);
      }
      writer.Write(event);
    }
    v1::Finished* finished = event.mutable_finished();
    *finished->mutable_usage() = Count(request);
    finished->mutable_usage()->set_completion_tokens(tokens);
    finished->mutable_timings()->mutable_queue()->set_nanos(2'000'000);
    writer.Write(event);
    return grpc::Status::OK;
  }

  mutable absl::Mutex mutex_;
  std::vector<v1::ChatRequest> requests_ ABSL_GUARDED_BY(mutex_);
  int at_once_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_at_once_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace llavamini::bench
