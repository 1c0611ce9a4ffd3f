// The commands against a server of canned answers in this process.
#include "client/commands.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llavamini/v1/chat.grpc.pb.h"
#include "tests/client/one_model.h"

namespace llavamini::client {
namespace {

using testing::HasSubstr;

// Answers each question with "You said: " and the question, in two deltas; refuses "bad", holds
// "slow" back.
class EchoServer : public v1::ChatService::Service {
 public:
  grpc::Status StreamChat(grpc::ServerContext*, const v1::ChatRequest* request,
                          grpc::ServerWriter<v1::ChatEvent>* writer) override {
    requests.push_back(*request);
    const v1::Message& last = *request->messages().rbegin();
    const std::string& question = last.content(last.content_size() - 1).text();
    if (question == "bad") return {grpc::StatusCode::INVALID_ARGUMENT, "bad is bad"};
    if (question == "slow") release_slow.WaitForNotification();
    v1::ChatEvent event;
    event.mutable_started()->set_request_id("r");
    writer->Write(event);
    event.mutable_delta()->set_text("You said: ");
    v1::TokenLogprob* logprob = event.mutable_delta()->add_logprobs();
    logprob->set_token("You");
    logprob->set_logprob(-0.5f);
    writer->Write(event);
    event.mutable_delta()->Clear();
    event.mutable_delta()->set_text(question);
    writer->Write(event);
    v1::Finished* finished = event.mutable_finished();
    finished->set_finish_reason(v1::FINISH_REASON_STOP);
    finished->mutable_usage()->set_prompt_tokens(12);
    finished->mutable_usage()->set_completion_tokens(3);
    finished->mutable_timings()->mutable_first_token()->set_nanos(20'000'000);
    finished->mutable_timings()->mutable_total()->set_nanos(40'000'000);
    writer->Write(event);
    return grpc::Status::OK;
  }

  grpc::Status CountTokens(grpc::ServerContext*, const v1::ChatRequest*,
                           v1::CountTokensResponse* response) override {
    response->mutable_usage()->set_prompt_tokens(41);
    response->set_remaining_tokens(4055);
    return grpc::Status::OK;
  }

  std::vector<v1::ChatRequest> requests;
  absl::Notification release_slow;
};

class CommandsTest : public testing::Test {
 protected:
  CommandsTest() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.RegisterService(&echo_);
    builder.RegisterService(&model_);
    server_ = builder.BuildAndStart();
  }

  // Runs the command line `words` with `input` on its standard input.
  ExitCode Run(const std::vector<std::string>& words, const std::string& input = "") {
    in_ = std::istringstream(input);
    out_ = std::ostringstream();
    error_ = std::ostringstream();
    const absl::StatusOr<Arguments> arguments = ParseArguments(words, "in process");
    if (!arguments.ok()) return kExitUsage;
    const Session session = {.arguments = *arguments,
                             .console = {.in = in_, .out = out_, .error = error_},
                             .channel = server_->InProcessChannel({}),
                             .interrupts = &interrupts_};
    switch (arguments->command) {
      case Command::kChat:
        return RunChat(session);
      case Command::kCount:
        return RunCount(session);
      case Command::kModels:
        return RunModels(session);
      case Command::kInfo:
        return RunInfo(session);
      case Command::kHealth:
        return RunHealth(session);
      case Command::kHelp:
        break;
    }
    return kExitOther;
  }

  std::string out() const { return out_.str(); }
  std::string error() const { return error_.str(); }

  Interrupts interrupts_;
  EchoServer echo_;
  OneModel model_{"cpu"};
  std::unique_ptr<grpc::Server> server_;

 private:
  std::istringstream in_;
  std::ostringstream out_, error_;
};

TEST_F(CommandsTest, ChatPrintsTheJoinedDeltas) {
  EXPECT_EQ(Run({"chat", "hello"}), kExitOk);
  EXPECT_EQ(out(), "You said: hello\n");
  EXPECT_EQ(error(), "");
}

TEST_F(CommandsTest, ChatPrintsTimingsAndLogprobsOnRequest) {
  EXPECT_EQ(Run({"chat", "--timings", "--logprobs", "hello"}), kExitOk);
  EXPECT_EQ(out(), "You said: hello\n  -0.5000  \"You\"\n");
  EXPECT_THAT(error(), HasSubstr("first token 20.0 ms, total 40.0 ms"));
  EXPECT_THAT(error(), HasSubstr("12 prompt tokens"));
  EXPECT_THAT(error(), HasSubstr("3 generated (100.0 tokens/s after the first)"));
}

TEST_F(CommandsTest, ChatPrintsOneJsonMessageALine) {
  EXPECT_EQ(Run({"chat", "--json", "hello"}), kExitOk);
  std::istringstream lines(out());
  std::string line;
  std::vector<std::string> kinds;
  while (std::getline(lines, line)) kinds.push_back(line.substr(0, line.find(':')));
  EXPECT_THAT(kinds,
              testing::ElementsAre("{\"started\"", "{\"delta\"", "{\"delta\"", "{\"finished\""));
}

TEST_F(CommandsTest, ConversationSendsTheWholeHistoryAndGoesOnAfterAFailure) {
  EXPECT_EQ(Run({"chat"}, "one\n\nbad\ntwo\n"), kExitRefused);
  EXPECT_EQ(out(), "You said: one\nYou said: two\n");
  EXPECT_EQ(error(), "llavamini: refused: bad is bad\n");
  ASSERT_EQ(echo_.requests.size(), 3u);
  const v1::ChatRequest& last = echo_.requests.back();
  ASSERT_EQ(last.messages_size(), 3);
  EXPECT_EQ(last.messages(0).content(0).text(), "one");
  EXPECT_EQ(last.messages(1).content(0).text(), "You said: one");
  EXPECT_EQ(last.messages(2).content(0).text(), "two");
}

TEST_F(CommandsTest, MissingFileIsNamedAndNothingIsSent) {
  EXPECT_EQ(Run({"chat", "--image", "/nowhere/cat.jpg", "hello"}), kExitNoInput);
  EXPECT_THAT(error(), HasSubstr("/nowhere/cat.jpg"));
  EXPECT_TRUE(echo_.requests.empty());
}

TEST_F(CommandsTest, CountModelsAndInfoPrintWhatTheServerSays) {
  EXPECT_EQ(Run({"count", "hello"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("41 prompt tokens"));
  EXPECT_THAT(out(), HasSubstr("room for 4055 more"));
  EXPECT_EQ(Run({"models"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("tiny: "));
  EXPECT_EQ(Run({"info"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("device     cpu"));
  EXPECT_EQ(Run({"models", "--json"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("\"name\":\"tiny\""));
}

TEST_F(CommandsTest, HealthFollowsTheServer) {
  EXPECT_EQ(Run({"health"}), kExitOk);
  EXPECT_EQ(out(), "SERVING\n");
  server_->GetHealthCheckService()->SetServingStatus(false);
  EXPECT_EQ(Run({"health"}), kExitUnavailable);
  EXPECT_EQ(out(), "NOT_SERVING\n");
}

TEST_F(CommandsTest, GivesUpAtTheDeadline) {
  EXPECT_EQ(Run({"chat", "--timeout", "0.2", "slow"}), kExitTryAgain);
  EXPECT_THAT(error(), HasSubstr("out of time"));
  echo_.release_slow.Notify();
}

}  // namespace
}  // namespace llavamini::client
