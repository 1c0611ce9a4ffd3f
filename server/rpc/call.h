// What one call needs besides its messages: its name, its cancel flag, its count among the calls in
// progress, and its one end.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"
#include "model/model.h"
#include "server/engine/request.h"
#include "server/prepare/chat_backend.h"
#include "server/rpc/request_log.h"

namespace llavamini {

// What serves calls once the model is loaded and warm. All outlive the server.
struct Serving {
  ChatBackend* backend = nullptr;
  const Tokenizer* tokenizer = nullptr;
  ModelFacts model;
  int64_t max_waiting = 0;
};

// Counts the calls in progress. Thread-safe.
class CallCounter {
 public:
  void Begin();
  void End();
  // Blocks; true when no call is left, false at the deadline.
  bool WaitNone(absl::Time deadline);

 private:
  absl::Mutex mutex_;
  int64_t calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What all services share. Thread-safe.
struct RpcShared {
  std::string version;
  absl::Time start_time;
  LogFormat log_format = LogFormat::kText;
  int64_t max_pending_bytes = 1 << 20;           // of one answer that waits for its reader
  std::atomic<const Serving*> serving{nullptr};  // null while loading
  CallCounter calls;
};

class Call {
 public:
  // `wanted_id` is the caller's name for the request; an unusable one is replaced in logs and
  // events.
  Call(RpcShared* shared, std::string_view method, const std::string& wanted_id);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const std::string& id() const { return id_; }
  const CancelFlag& cancelled() const { return cancelled_; }
  const Serving* serving() const { return serving_; }
  RpcShared* shared() const { return shared_; }

  // From any thread: ends the work on the call soon.
  void Cancel();

  // Once, when the answer is complete or has failed: writes the log's line and gives the status to
  // finish with.
  grpc::Status Conclude(const Outcome& outcome);

  // The outcome of a call that got no further than `status`.
  Outcome Refused(const absl::Status& status) const;

 private:
  RpcShared* const shared_;
  const Serving* const serving_;
  const std::string_view method_;
  const std::string id_;
  const absl::Time start_;
  const CancelFlag cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace llavamini
