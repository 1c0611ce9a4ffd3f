// What a client of a server in good order sees.
#include <gmock/gmock.h>

#include <thread>

#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "tests/server/rpc/service_fixture.h"

namespace llavamini {
namespace {

using testing::HasSubstr;

TEST_F(ServiceTest, StreamsStartedThenDeltasThenFinished) {
  Start();
  v1::ChatRequest request = TextRequest();
  request.set_request_id("my request");
  const StreamedAnswer answer = Stream(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_GE(answer.events.size(), 3u);
  EXPECT_EQ(answer.events.front().started().request_id(), "my request");
  EXPECT_EQ(answer.events.front().started().model(), "demo");
  for (size_t i = 1; i + 1 < answer.events.size(); ++i) EXPECT_TRUE(answer.events[i].has_delta());
  const v1::Finished& finished = answer.events.back().finished();
  EXPECT_EQ(finished.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.text(), " red blue green yellow red blue green yellow");
  EXPECT_GT(finished.usage().prompt_tokens(), 0u);
  EXPECT_EQ(finished.usage().images(), 0u);
}

TEST_F(ServiceTest, SendsProgressOnlyWhenAskedAndInOrder) {
  Start();
  v1::ChatRequest request = PictureRequest(ReadRepositoryFile("demo/samples/shapes-1.png"));
  EXPECT_TRUE(Stream(request).stages().empty());
  request = PictureRequest(ReadRepositoryFile("demo/samples/shapes-2.png"));
  request.set_include_progress(true);
  const StreamedAnswer answer = Stream(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_TRUE(answer.events.front().has_started());
  const std::vector<v1::Stage> stages = answer.stages();
  ASSERT_FALSE(stages.empty());
  EXPECT_EQ(stages.front(), v1::STAGE_DECODING_MEDIA);
  bool delta = false;
  for (const v1::ChatEvent& event : answer.events) {
    delta = delta || event.has_delta();
    EXPECT_FALSE(delta && event.has_progress());
  }
}

TEST_F(ServiceTest, AnswersWholeWithUsageAndLogprobs) {
  Start();
  v1::ChatRequest request = TextRequest();
  request.mutable_params()->set_max_tokens(3);
  request.mutable_params()->set_logprobs(true);
  request.mutable_params()->set_top_logprobs(2);
  v1::ChatResponse response;
  const grpc::Status status = Chat(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.text(), " red blue green");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(response.request_id().size(), 16u);
  EXPECT_EQ(response.usage().completion_tokens(), 3u);
  ASSERT_EQ(response.logprobs_size(), 3);
  EXPECT_EQ(response.logprobs(0).token(), " red");
  EXPECT_EQ(response.logprobs(0).top_logprobs_size(), 2);
}

TEST_F(ServiceTest, TakesAKnownPictureFromTheCache) {
  Start();
  const v1::ChatRequest request = PictureRequest(ReadRepositoryFile("demo/samples/shapes-1.png"));
  v1::ChatResponse first, second;
  ASSERT_TRUE(Chat(request, &first).ok());
  ASSERT_TRUE(Chat(request, &second).ok());
  EXPECT_EQ(first.usage().images(), 1u);
  EXPECT_EQ(first.usage().cached_images(), 0u);
  EXPECT_EQ(second.usage().cached_images(), 1u);
  EXPECT_EQ(model_->encoded_images(), 1);
}

TEST_F(ServiceTest, CountsTokensWithoutGenerating) {
  Start();
  const v1::ChatRequest request = PictureRequest(ReadRepositoryFile("demo/samples/shapes-1.png"));
  v1::ChatResponse answer;
  ASSERT_TRUE(Chat(request, &answer).ok());
  const int64_t steps = model_->decode_steps();
  grpc::ClientContext context;
  v1::CountTokensResponse count;
  ASSERT_TRUE(chat_->CountTokens(&context, request, &count).ok());
  EXPECT_EQ(count.usage().prompt_tokens(), answer.usage().prompt_tokens());
  EXPECT_EQ(count.usage().vision_tokens(), 1u);
  EXPECT_EQ(count.remaining_tokens(), 256 - count.usage().prompt_tokens());
  EXPECT_EQ(model_->decode_steps(), steps);
}

TEST_F(ServiceTest, CancellingFreesThePlace) {
  constexpr int kManyTokens = 8000;
  options_.model.max_context_tokens = 2 * kManyTokens;
  Start();
  model_->SetAnswerLength(kManyTokens);
  model_->SetStepTime(absl::Milliseconds(1));
  grpc::ClientContext context;
  v1::ChatRequest request = TextRequest();
  request.mutable_params()->set_max_tokens(kManyTokens);
  const auto reader = chat_->StreamChat(&context, request);
  v1::ChatEvent event;
  while (!event.has_delta()) ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitForTaken(0));
  EXPECT_TRUE(shared_.calls.WaitNone(absl::Now() + absl::Seconds(10)));
  EXPECT_LT(model_->decode_steps(), kManyTokens / 2);
  model_->SetAnswerLength(3);
  EXPECT_TRUE(Stream(TextRequest()).status.ok());
}

TEST_F(ServiceTest, KeepsTheDeadlineOfTheCall) {
  Start();
  model_->Hold();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(100)));
  v1::ChatResponse response;
  EXPECT_EQ(chat_->Chat(&context, TextRequest(), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  model_->Release();
  EXPECT_TRUE(shared_.calls.WaitNone(absl::Now() + absl::Seconds(10)));
}

TEST_F(ServiceTest, RefusesAtOnceWhenTheQueueIsFull) {
  options_.engine.max_running = 1;
  options_.engine.max_waiting = 2;
  Start();
  model_->HoldDecoding();
  std::vector<std::thread> clients;
  const auto ask = [this, &clients] {
    clients.emplace_back([this] {
      v1::ChatResponse response;
      EXPECT_TRUE(Chat(TextRequest(), &response).ok());
    });
  };
  ask();
  EXPECT_TRUE(WaitForRunning(1));
  ask();
  ask();
  EXPECT_TRUE(WaitForTaken(3));
  v1::ChatResponse response;
  const grpc::Status refused = Chat(TextRequest(), &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(refused), "QUEUE_FULL");
  EXPECT_EQ(DetailsOf<google::rpc::RetryInfo>(refused).size(), 1u);
  model_->Release();
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(Chat(TextRequest(), &response).ok());
}

TEST_F(ServiceTest, CancelsAnAnswerThatIsNotRead) {
  options_.model.max_context_tokens = 65536;
  max_pending_bytes_ = 64 << 10;
  Start();
  model_->SetAnswerLength(1 << 20);
  v1::ChatRequest request = TextRequest();
  request.mutable_params()->set_max_tokens(60000);
  request.mutable_params()->set_logprobs(true);
  request.mutable_params()->set_top_logprobs(20);
  grpc::ClientContext context;
  const auto reader = chat_->StreamChat(&context, request);
  v1::ChatEvent event;
  ASSERT_TRUE(reader->Read(&event));
  ASSERT_TRUE(WaitForTaken(0));  // nobody reads: the place is free long before 60000 tokens
  v1::ChatResponse other;
  EXPECT_TRUE([&] {
    model_->SetAnswerLength(4);
    return Chat(TextRequest(), &other).ok();
  }());
  while (reader->Read(&event)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "SLOW_READER");
}

TEST_F(ServiceTest, TellsAnInternalFailureByIdAndGoesOn) {
  Start();
  model_->FailNext(absl::InternalError("secret detail of the device"));
  const StreamedAnswer answer = Stream(TextRequest());
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(answer.status.error_message(), testing::Not(HasSubstr("secret")));
  const auto infos = DetailsOf<google::rpc::ErrorInfo>(answer.status);
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_THAT(answer.status.error_message(), HasSubstr(infos[0].metadata().at("error_id")));
  EXPECT_TRUE(Stream(TextRequest()).status.ok());
}

TEST_F(ServiceTest, ManyStreamsAtOnceGetTheAnswerThatEachGetsAlone) {
  options_.engine.max_waiting = 64;
  Start();
  const std::string alone = Stream(TextRequest()).text();
  std::vector<std::thread> clients;
  for (int i = 0; i < 32; ++i) {
    clients.emplace_back([&] { EXPECT_EQ(Stream(TextRequest()).text(), alone); });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(ServiceTest, ListsItsModelAndItsState) {
  Start();
  grpc::ClientContext list_context, info_context;
  v1::ListModelsResponse models;
  ASSERT_TRUE(models_->ListModels(&list_context, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).name(), "demo");
  EXPECT_EQ(models.models(0).max_context_tokens(), 256u);
  EXPECT_EQ(models.models(0).max_images(), 1u);
  EXPECT_EQ(models.models(0).parameters(), 12345u);
  v1::ServerInfo info;
  ASSERT_TRUE(models_->GetServerInfo(&info_context, {}, &info).ok());
  EXPECT_EQ(info.version(), "test");
  EXPECT_EQ(info.max_waiting_requests(), 4u);
  EXPECT_EQ(info.max_message_bytes(), 64u << 20);
}

TEST_F(ServiceTest, SaysWhatItDoesNotServe) {
  Start();
  grpc::ClientContext live_context, get_context, upload_context;
  const auto live = chat_->LiveChat(&live_context);
  v1::LiveChatEvent event;
  EXPECT_FALSE(live->Read(&event));
  const grpc::Status live_status = live->Finish();
  EXPECT_EQ(live_status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(live_status.error_message(), HasSubstr("LiveChat"));
  v1::Media media;
  const grpc::Status get = media_->GetMedia(&get_context, {}, &media);
  EXPECT_EQ(get.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(get.error_message(), HasSubstr("MediaService"));
  const auto upload = media_->UploadMedia(&upload_context, &media);
  upload->WritesDone();
  EXPECT_EQ(upload->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace llavamini
