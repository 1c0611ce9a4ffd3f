// A streamed answer: the engine's deltas on their way to one gRPC reader. Deltas that come while a
// write is in flight wait here, joined into one message; past a bound the call is cancelled, so
// that a slow reader costs its own answer only.
//
// Threads: the prepare pool and the engine call the AnswerSink part, gRPC's threads the reactor
// part. The stream keeps itself alive until OnDone; whoever delivers into it holds it as well.
#pragma once

#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "llavamini/v1/chat.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/pending_events.h"

namespace llavamini {

class TokenStream final : public grpc::ServerWriteReactor<v1::ChatEvent>, public AnswerSink {
 public:
  // Admits the call, or finishes it with the refusal. gRPC owns the reactor until OnDone.
  static TokenStream* Begin(RpcShared* shared, std::shared_ptr<const v1::ChatRequest> request,
                            absl::Time deadline);

  TokenStream(RpcShared* shared, const v1::ChatRequest& request);

  void OnProgress(Stage stage, int64_t done, int64_t total) override;
  void OnDelta(Delta delta) override;
  void OnFinished(const Outcome& outcome) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // Writes the next event, or finishes the call when all is written; nothing while a write is in
  // flight.
  void Advance();

  Call call_;
  std::shared_ptr<TokenStream> self_;  // until OnDone

  absl::Mutex mutex_;
  PendingEvents pending_ ABSL_GUARDED_BY(mutex_);
  v1::ChatEvent event_;  // the write in flight; gRPC's from StartWrite to OnWriteDone
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // the reader is gone
  bool too_slow_ ABSL_GUARDED_BY(mutex_) = false;
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Outcome> outcome_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llavamini
