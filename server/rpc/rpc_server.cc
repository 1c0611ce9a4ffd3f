#include "server/rpc/rpc_server.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server_builder.h"

namespace llavamini {
namespace {

// Memory of gRPC's own, for messages on their way in and out.
constexpr size_t kTransportBytes = size_t{1} << 30;
constexpr int kStreamsPerConnection = 1024;
constexpr int kPingEveryMs = 60'000;  // finds dead clients, so that their answers stop
constexpr int kPingTimeoutMs = 20'000;
constexpr int kLeastClientPingMs = 10'000;

std::vector<std::string> ServedNames() {
  return {v1::ChatService::service_full_name(), v1::ModelService::service_full_name(),
          v1::MediaService::service_full_name()};
}

std::vector<std::string> ReflectedNames() {
  std::vector<std::string> names = ServedNames();
  names.push_back(
      grpc::health::v1::HealthCheckRequest::descriptor()->file()->service(0)->full_name());
  names.push_back(grpc::reflection::v1::ServerReflection::service_full_name());
  names.push_back("grpc.reflection.v1alpha.ServerReflection");
  return names;
}

void SetTransport(grpc::ServerBuilder& builder) {
  grpc::ResourceQuota quota("llavamini");
  quota.Resize(kTransportBytes);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  // A port that is taken fails instead of being shared.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kPingEveryMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kLeastClientPingMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
}

}  // namespace

RpcServer::RpcServer(RpcShared* shared)
    : shared_(shared), chat_(shared), model_(shared), reflection_(ReflectedNames()) {}

RpcServer::~RpcServer() { Shutdown(absl::Now()); }

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Open(const std::string& address,
                                                           RpcShared* shared) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::unique_ptr<RpcServer> opened(new RpcServer(shared));
  grpc::ServerBuilder builder;
  SetTransport(builder);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &opened->port_);
  builder.RegisterService(&opened->chat_);
  builder.RegisterService(&opened->model_);
  builder.RegisterService(&opened->media_);
  builder.RegisterService(&opened->reflection_);
  opened->server_ = builder.BuildAndStart();
  if (opened->server_ == nullptr || opened->port_ == 0) {
    return absl::UnavailableError(absl::StrCat("cannot open ", address));
  }
  opened->SetHealth(false);
  return opened;
}

void RpcServer::StartServing(const Serving* serving) {
  shared_->serving.store(serving, std::memory_order_release);
  SetHealth(true);
}

void RpcServer::StopServing() { SetHealth(false); }

void RpcServer::Shutdown(absl::Time deadline) {
  if (server_ == nullptr) return;
  server_->Shutdown(absl::ToChronoTime(deadline));
  server_->Wait();
  server_.reset();
}

void RpcServer::SetHealth(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus(serving);  // those already named, "" among them
  health->SetServingStatus("", serving);
  for (const std::string& name : ServedNames()) health->SetServingStatus(name, serving);
}

}  // namespace llavamini
