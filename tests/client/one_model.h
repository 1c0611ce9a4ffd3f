// A server's one model, for tests of clients.
#pragma once

#include <grpcpp/server_context.h>

#include <string>
#include <utility>

#include "llavamini/v1/model.grpc.pb.h"

namespace llavamini {

class OneModel : public v1::ModelService::Service {
 public:
  explicit OneModel(std::string device) : device_(std::move(device)) {}

 private:
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    response->add_models()->set_name("tiny");
    return grpc::Status::OK;
  }
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                             v1::ServerInfo* response) override {
    response->set_device(device_);
    return grpc::Status::OK;
  }

  const std::string device_;
};

}  // namespace llavamini
