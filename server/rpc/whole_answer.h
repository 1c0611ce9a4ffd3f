// A whole answer in one message: collects the engine's deltas and finishes a unary call with them.
// The sink's calls come one after another, from the prepare pool and then the engine. Keeps itself
// alive until OnDone.
#pragma once

#include <memory>

#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "llavamini/v1/chat.pb.h"
#include "server/rpc/call.h"

namespace llavamini {

class WholeAnswer final : public grpc::ServerUnaryReactor, public AnswerSink {
 public:
  // Admits the call, or finishes it with the refusal. `response` is gRPC's until OnDone, and so is
  // the reactor.
  static WholeAnswer* Begin(RpcShared* shared, std::shared_ptr<const v1::ChatRequest> request,
                            absl::Time deadline, v1::ChatResponse* response);

  WholeAnswer(RpcShared* shared, const v1::ChatRequest& request, v1::ChatResponse* response);

  void OnProgress(Stage, int64_t, int64_t) override {}
  void OnDelta(Delta delta) override;
  void OnFinished(const Outcome& outcome) override;

  void OnCancel() override { call_.Cancel(); }
  void OnDone() override;

 private:
  Call call_;
  std::shared_ptr<WholeAnswer> self_;  // until OnDone
  v1::ChatResponse* const response_;
};

}  // namespace llavamini
