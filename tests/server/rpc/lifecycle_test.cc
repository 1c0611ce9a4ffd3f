// Loading, serving and draining, as health checks and callers see them.
#include <gmock/gmock.h>

#include <thread>

#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "tests/server/rpc/service_fixture.h"

namespace llavamini {
namespace {

using Health = grpc::health::v1::HealthCheckResponse;

class LifecycleTest : public ServiceTest {
 protected:
  Health::ServingStatus HealthOf(const std::string& service) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    Health response;
    const grpc::Status status = health_->Check(&context, request, &response);
    return status.ok() ? response.status() : Health::SERVICE_UNKNOWN;
  }
};

TEST_F(LifecycleTest, SaysNotServingUntilTheModelIsWarm) {
  Open();
  for (const char* service :
       {"", "llavamini.v1.ChatService", "llavamini.v1.ModelService", "llavamini.v1.MediaService"}) {
    EXPECT_EQ(HealthOf(service), Health::NOT_SERVING) << service;
  }
  v1::ChatResponse response;
  const grpc::Status loading = Chat(TextRequest(), &response);
  EXPECT_EQ(loading.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(loading), "LOADING");
  EXPECT_EQ(DetailsOf<google::rpc::RetryInfo>(loading).size(), 1u);
  EXPECT_EQ(Stream(TextRequest()).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  grpc::ClientContext list_context, count_context;
  v1::ListModelsResponse models;
  v1::CountTokensResponse count;
  EXPECT_EQ(models_->ListModels(&list_context, {}, &models).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(chat_->CountTokens(&count_context, TextRequest(), &count).error_code(),
            grpc::StatusCode::UNAVAILABLE);

  Start();
  for (const char* service :
       {"", "llavamini.v1.ChatService", "llavamini.v1.ModelService", "llavamini.v1.MediaService"}) {
    EXPECT_EQ(HealthOf(service), Health::SERVING) << service;
  }
  EXPECT_EQ(HealthOf("other.Service"), Health::SERVICE_UNKNOWN);
  EXPECT_TRUE(Chat(TextRequest(), &response).ok());
}

TEST_F(LifecycleTest, DrainingFinishesRunningAnswersAndRefusesNewOnes) {
  Start();
  model_->Hold();
  StreamedAnswer running;
  std::thread client([&] { running = Stream(TextRequest()); });
  ASSERT_TRUE(WaitForTaken(1));

  server_->StopServing();
  stack_->backend().StartDraining();
  EXPECT_EQ(HealthOf(""), Health::NOT_SERVING);
  v1::ChatResponse response;
  const grpc::Status refused = Chat(TextRequest(), &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(refused), "DRAINING");
  EXPECT_EQ(DetailsOf<google::rpc::RetryInfo>(refused).size(), 1u);
  EXPECT_FALSE(shared_.calls.WaitNone(absl::Now() + absl::Milliseconds(50)));

  model_->Release();
  EXPECT_TRUE(shared_.calls.WaitNone(absl::Now() + absl::Seconds(20)));
  client.join();
  EXPECT_TRUE(running.status.ok()) << running.status.error_message();
  EXPECT_TRUE(running.events.back().has_finished());
}

TEST_F(LifecycleTest, StoppingTheEngineEndsWhatStillRunsWithUnavailable) {
  options_.model.max_context_tokens = 65536;
  Start();
  model_->SetAnswerLength(1 << 20);
  v1::ChatRequest request = TextRequest();
  request.mutable_params()->set_max_tokens(60000);
  grpc::ClientContext context;
  const auto reader = chat_->StreamChat(&context, request);
  v1::ChatEvent event;
  ASSERT_TRUE(reader->Read(&event));
  stack_->engine().Stop(absl::UnavailableError("stopping"));
  while (reader->Read(&event)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "DRAINING");
}

TEST_F(LifecycleTest, SaysWhenItsPortIsTaken) {
  Open();
  RpcShared other;
  const auto second = RpcServer::Open("127.0.0.1:" + std::to_string(server_->port()), &other);
  EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
}

}  // namespace
}  // namespace llavamini
