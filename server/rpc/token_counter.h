// CountTokens: what a request's prompt would take. Keeps itself alive until OnDone.
#pragma once

#include <memory>

#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "llavamini/v1/chat.pb.h"
#include "server/rpc/call.h"

namespace llavamini {

class TokenCounter final : public grpc::ServerUnaryReactor {
 public:
  static TokenCounter* Begin(RpcShared* shared, std::shared_ptr<const v1::ChatRequest> request,
                             absl::Time deadline, v1::CountTokensResponse* response);

  TokenCounter(RpcShared* shared, const v1::ChatRequest& request,
               v1::CountTokensResponse* response);

  void OnCancel() override { call_.Cancel(); }
  void OnDone() override;

 private:
  void Counted(const absl::StatusOr<TokenCount>& count);

  Call call_;
  std::shared_ptr<TokenCounter> self_;  // until OnDone
  v1::CountTokensResponse* const response_;
};

}  // namespace llavamini
