// One StreamChat call at a time, measured. Used again for call after call, so that a request costs
// the generator little more than gRPC itself.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_stream.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/bench/workload.h"
#include "llavamini/v1/chat.grpc.pb.h"

namespace llavamini::bench {

// Nanoseconds of the clock that all measures are taken with: steady, from an arbitrary start.
int64_t Now();

// What one request took.
struct Sample {
  int64_t due_ns = 0;    // what latency counts from: the scheduled arrival, or start_ns
  int64_t start_ns = 0;  // the request was made and is handed to gRPC
  int64_t first_ns = 0;  // the first delta arrived; 0: none did
  int64_t end_ns = 0;    // the call's status arrived
  grpc::StatusCode code = grpc::StatusCode::OK;
  // Of answered requests, from the server.
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t images = 0;
  uint32_t cached_images = 0;
  float queue_ms = 0;
  float media_decode_ms = 0;
  float vision_encode_ms = 0;
  float prefill_ms = 0;
  float first_token_ms = 0;
};

// Thread rule: Start() and Proceed() are called by one thread at a time, each after the one before
// it has returned or its event was taken from the queue; Cancel() by any thread.
class Stream {
 public:
  // `index` is the caller's. The stub, the queue and the workload outlive the stream.
  Stream(int index, v1::ChatService::Stub* stub, grpc::CompletionQueue* queue,
         const Workload* workload);

  // Begins a call, whose events come out of the queue with this stream as their tag. False, and
  // nothing begins, once `stopped` is set. due_ns 0: latency counts from the start. The stream may
  // already be another thread's when this returns.
  bool Start(const Turn& turn, int64_t due_ns, absl::Duration timeout,
             const std::atomic<bool>& stopped);

  // Lets nothing happen for a while; as with a call, an event of this stream ends it. False as with
  // Start().
  bool Rest(absl::Duration duration, const std::atomic<bool>& stopped);

  // What an event of this stream out of the queue means.
  enum class Event { kGoesOn, kCallEnded, kRested };
  Event Proceed(bool ok);

  // Ends the call or the rest in progress. Later ones do not begin once `stopped` is set.
  void Cancel();

  // Of the call that has ended.
  const Sample& sample() const { return sample_; }
  const std::vector<float>& gaps_ms() const { return gaps_ms_; }  // inter-token latencies
  const grpc::Status& status() const { return status_; }

  int index() const { return index_; }

 private:
  enum class State { kStarting, kReading, kFinishing, kResting };

  void TakeEvent(int64_t now);
  void TakeDelta(const v1::Delta& delta, int64_t now);
  void TakeFinished(const v1::Finished& finished);

  const int index_;
  v1::ChatService::Stub* const stub_;
  grpc::CompletionQueue* const queue_;
  const Workload* const workload_;

  absl::Mutex mutex_;  // taken once a call or rest, against Cancel()
  std::optional<grpc::ClientContext> context_ ABSL_GUARDED_BY(mutex_);
  std::optional<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::ClientAsyncReader<v1::ChatEvent>> reader_;
  State state_ = State::kStarting;
  v1::ChatRequest request_;
  v1::ChatEvent event_;
  grpc::Status status_;
  Sample sample_;
  std::vector<float> gaps_ms_;
  int64_t last_token_ns_ = 0;
};

}  // namespace llavamini::bench
