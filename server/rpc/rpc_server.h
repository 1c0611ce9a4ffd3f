// The gRPC server: its port, services, health and reflection. Opens before the model is loaded,
// says NOT_SERVING until told otherwise. Used by one thread, main's.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/server.h"
#include "server/rpc/call.h"
#include "server/rpc/reflection_v1.h"
#include "server/rpc/services.h"

namespace llavamini {

class RpcServer {
 public:
  // `address` is HOST:PORT; port 0 takes any free one. UNAVAILABLE when it cannot be opened.
  // `shared` outlives the server.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Open(const std::string& address,
                                                         RpcShared* shared);
  ~RpcServer();

  int port() const { return port_; }

  // Serves calls with `serving`; health says SERVING.
  void StartServing(const Serving* serving);

  // Health says NOT_SERVING. Calls go on: ChatBackend::StartDraining refuses them.
  void StopServing();

  // Closes the port and ends what is still open at the deadline.
  void Shutdown(absl::Time deadline);

  // For clients inside the program.
  grpc::Server& server() { return *server_; }

 private:
  explicit RpcServer(RpcShared* shared);
  void SetHealth(bool serving);

  RpcShared* const shared_;
  ChatServiceImpl chat_;
  ModelServiceImpl model_;
  MediaServiceImpl media_;
  ReflectionV1Service reflection_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace llavamini
