// The real services over a real socket, engine and prepare pool behind them, a fake model at the
// end.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "llavamini/v1/chat.grpc.pb.h"
#include "llavamini/v1/media.grpc.pb.h"
#include "llavamini/v1/model.grpc.pb.h"
#include "server/prepare/chat_stack.h"
#include "server/rpc/rpc_server.h"
#include "tests/server/rpc/fake_model.h"

namespace llavamini {

// A file of the repository.
std::string ReadRepositoryFile(const std::string& name);

// A good request: a question of text, or about a picture.
v1::ChatRequest TextRequest(const std::string& text = "what is this ?");
v1::ChatRequest PictureRequest(const std::string& bytes);

// What a client of StreamChat saw.
struct StreamedAnswer {
  std::vector<v1::ChatEvent> events;
  grpc::Status status;

  std::string text() const;
  std::vector<v1::Stage> stages() const;
};

// The details of a failed call, by their message types.
template <typename Detail>
std::vector<Detail> DetailsOf(const grpc::Status& status) {
  google::rpc::Status whole;
  std::vector<Detail> found;
  if (!whole.ParseFromString(status.error_details())) return found;
  for (const auto& any : whole.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) found.push_back(detail);
  }
  return found;
}

// ErrorInfo.reason; empty when there is none.
std::string ReasonIn(const grpc::Status& status);

class ServiceTest : public testing::Test {
 protected:
  ServiceTest();
  ~ServiceTest() override;

  // Settings that a test changes before Start().
  ChatStackOptions options_;
  int64_t max_pending_bytes_ = 1 << 20;

  // Opens the port without a model, then serves.
  void Open();
  void Start();

  StreamedAnswer Stream(const v1::ChatRequest& request);
  grpc::Status Chat(const v1::ChatRequest& request, v1::ChatResponse* response);
  // Block until the engine has this many requests, at most 20 s; false then.
  bool WaitForRunning(int64_t running);
  bool WaitForTaken(int64_t running_and_waiting);

  std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<FakeModel> model_;
  RpcShared shared_;
  std::unique_ptr<ChatStack> stack_;
  Serving serving_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ChatService::Stub> chat_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::MediaService::Stub> media_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;

 private:
  template <typename Reached>
  bool WaitFor(Reached reached);
};

}  // namespace llavamini
