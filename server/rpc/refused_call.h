// Reactors that only finish: for calls of the contract that this server does not serve. Each
// deletes itself in OnDone.
#pragma once

#include <string_view>

#include "grpcpp/support/server_callback.h"
#include "server/prepare/errors.h"
#include "server/rpc/status_mapping.h"

namespace llavamini {

template <typename Reactor>
class RefusedCall final : public Reactor {
 public:
  explicit RefusedCall(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

// UNIMPLEMENTED with ErrorInfo NOT_SERVED. gRPC owns the reactor until OnDone.
template <typename Reactor>
Reactor* RefuseNotServed(std::string_view what) {
  return new RefusedCall<Reactor>(ToGrpcStatus(NotServed("", what), "", ""));
}

}  // namespace llavamini
