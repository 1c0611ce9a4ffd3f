// Whole runs against a server of canned answers in this process.
#include "client/bench/bench.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/bench/schedule.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/bench/fake_server.h"
#include "tests/client/one_model.h"

namespace llavamini::bench {
namespace {

using client::ExitCode;
using testing::HasSubstr;

class BenchTest : public testing::Test {
 protected:
  BenchTest() : json_(absl::StrCat(testing::TempDir(), "/llavamini_bench_", getpid(), ".json")) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&chat_);
    builder.RegisterService(&models_);
    server_ = builder.BuildAndStart();
  }
  ~BenchTest() override {
    server_->Shutdown();
    std::remove(json_.c_str());
  }

  ExitCode Run(std::vector<std::string> words) {
    words.insert(words.begin(), {"--json", json_, "--max-tokens", "6"});
    const absl::StatusOr<Arguments> arguments =
        ParseArguments(words, absl::StrCat("127.0.0.1:", port_));
    if (!arguments.ok()) {
      ADD_FAILURE() << arguments.status();
      return client::kExitUsage;
    }
    return RunBench(*arguments, out_, error_, &interrupts_);
  }

  nlohmann::json Json() const { return nlohmann::json::parse(std::ifstream(json_)); }

  client::Interrupts interrupts_;  // first: blocks SIGINT for the server's threads
  FakeChat chat_;
  OneModel models_{"a fake"};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  const std::string json_;
  std::ostringstream out_, error_;
};

const std::string& PictureOf(const v1::ChatRequest& request) {
  return request.messages().rbegin()->content(0).image().source().data();
}

TEST_F(BenchTest, ClosedLoopKeepsItsConcurrencyAndCountsEveryRequest) {
  EXPECT_EQ(Run({"--concurrency", "2,5", "--requests", "40", "--warmup", "3", "--threads", "2"}),
            client::kExitOk)
      << error_.str();
  EXPECT_EQ(chat_.requests().size(), 2u * (40 + 3));
  EXPECT_LE(chat_.most_at_once(), 5);
  const nlohmann::json json = Json();
  ASSERT_EQ(json["points"].size(), 2u);
  for (const nlohmann::json& point : json["points"]) {
    EXPECT_EQ(point["requests"]["started"], 40);
    EXPECT_EQ(point["requests"]["answered"], 40);
    EXPECT_LE(point["most_in_flight"], point["concurrency"]);
    EXPECT_EQ(point["usage"]["completion_tokens"], 40 * 6);
    EXPECT_EQ(point["usage"]["images"], 40);
    EXPECT_EQ(point["ttft_ms"]["count"], 40);
    EXPECT_GE(point["ttft_ms"]["p50"], 2);              // the server's work
    EXPECT_EQ(point["itl_ms"]["count"], 40 * (6 - 1));  // deltas of two tokens count twice
    EXPECT_EQ(point["e2e_ms"]["count"], 40);
    EXPECT_EQ(point["server_ms"]["queue"]["mean"], 2);
    EXPECT_GT(point["requests_per_s"], 0);
  }
  EXPECT_EQ(json["server"]["device"], "a fake");
  EXPECT_EQ(json["model"]["name"], "tiny");
  std::set<std::string> pictures;
  for (const v1::ChatRequest& request : chat_.requests()) pictures.insert(PictureOf(request));
  EXPECT_EQ(pictures.size(), chat_.requests().size());
}

TEST_F(BenchTest, ClosedLoopSendsOnEveryStreamAtOnce) {
  chat_.gather = 7;  // fewer streams would wait for ever
  EXPECT_EQ(Run({"--concurrency", "7", "--requests", "20", "--warmup", "0", "--threads", "3"}),
            client::kExitOk);
  EXPECT_EQ(chat_.most_at_once(), 7);
  EXPECT_EQ(Json()["points"][0]["most_in_flight"], 7);
}

TEST_F(BenchTest, OpenLoopDoesNotWaitForAnswers) {
  chat_.gather = 30;
  EXPECT_EQ(Run({"--rate", "2000", "--requests", "30", "--warmup", "0"}), client::kExitOk);
  EXPECT_EQ(chat_.most_at_once(), 30);
}

TEST_F(BenchTest, OpenLoopHoldsArrivalsBackAtItsMostInFlight) {
  chat_.work = absl::Milliseconds(5);
  EXPECT_EQ(Run({"--rate", "1000", "--requests", "60", "--max-in-flight", "3", "--warmup", "0"}),
            client::kExitOk)
      << error_.str();
  EXPECT_EQ(chat_.requests().size(), 60u);
  EXPECT_LE(chat_.most_at_once(), 3);
  const nlohmann::json point = Json()["points"][0];
  EXPECT_EQ(point["requests"]["answered"], 60);
  EXPECT_EQ(point["most_in_flight"], 3);
  // 60 requests of 5 ms on three places take 100 ms at the least, but all were due within 65.
  EXPECT_GT(point["start_delay_ms"]["max"], 10);
  EXPECT_GE(point["e2e_ms"]["max"], point["start_delay_ms"]["max"]);
}

TEST_F(BenchTest, OpenLoopEndsWithItsDuration) {
  EXPECT_EQ(Run({"--rate", "200", "--duration", "0.2", "--warmup", "0", "--image", "none"}),
            client::kExitOk)
      << error_.str();
  size_t due = 0;
  for (PoissonArrivals arrivals(200, 1); arrivals.Next() <= 200'000'000;) ++due;
  EXPECT_EQ(chat_.requests().size(), due);
}

TEST_F(BenchTest, ClosedLoopEndsWithItsDuration) {
  EXPECT_EQ(Run({"--concurrency", "4", "--duration", "0.1", "--warmup", "0"}), client::kExitOk);
  const nlohmann::json point = Json()["points"][0];
  EXPECT_EQ(point["requests"]["answered"], chat_.requests().size());
  EXPECT_GE(chat_.requests().size(), 4u);
}

TEST_F(BenchTest, CountsErrorsByCodeAndMeasuresTheRest) {
  chat_.fail_every = 4;
  EXPECT_EQ(Run({"--concurrency", "3", "--requests", "40", "--warmup", "0"}), client::kExitOk);
  const nlohmann::json point = Json()["points"][0];
  EXPECT_EQ(point["requests"]["answered"], 30);
  EXPECT_EQ(point["requests"]["failed"], 10);
  EXPECT_EQ(point["errors"], (nlohmann::json{{"RESOURCE_EXHAUSTED", 10}}));
  EXPECT_EQ(point["usage"]["completion_tokens"], 30 * 6);
  EXPECT_EQ(point["e2e_ms"]["count"], 30);
  EXPECT_THAT(error_.str(),
              HasSubstr("10 of 40 requests failed, one with: too much at once: full"));
}

TEST_F(BenchTest, APointWithoutAnyAnswerEndsTheSweepWithItsCode) {
  chat_.fail_every = 1;
  EXPECT_EQ(Run({"--concurrency", "1,2", "--requests", "5", "--warmup", "0"}),
            client::kExitTryAgain);
  EXPECT_EQ(chat_.requests().size(), 5u);
  EXPECT_EQ(Json()["points"].size(), 1u);
}

TEST_F(BenchTest, AnOverloadedServerIsLeftAloneAsLongAsItAsksFor) {
  chat_.fail_every = 1;
  chat_.retry = absl::Milliseconds(30);
  const absl::Time begin = absl::Now();
  EXPECT_EQ(Run({"--requests", "5", "--warmup", "0"}), client::kExitTryAgain);
  EXPECT_GE(absl::Now() - begin, 4 * chat_.retry);
}

TEST_F(BenchTest, CtrlCEndsARest) {
  chat_.fail_every = 1;
  chat_.retry = absl::Hours(1);
  std::thread presser([this] {
    chat_.AwaitRequests(2);
    kill(getpid(), SIGINT);
  });
  EXPECT_EQ(Run({"--concurrency", "2", "--requests", "1000000", "--warmup", "0"}),
            client::kExitInterrupted);
  presser.join();
}

TEST_F(BenchTest, AServerThatBecameUnavailableIsAskedOnceAStream) {
  chat_.fail_every = 1;
  chat_.failure = grpc::StatusCode::UNAVAILABLE;
  EXPECT_EQ(Run({"--concurrency", "3", "--requests", "1000000", "--warmup", "0"}),
            client::kExitUnavailable);
  EXPECT_LE(chat_.requests().size(), 3u);
  EXPECT_EQ(Json()["points"][0]["errors"]["UNAVAILABLE"], chat_.requests().size());
}

TEST_F(BenchTest, RepeatsPicturesInTheirShare) {
  EXPECT_EQ(Run({"--concurrency", "4", "--requests", "40", "--image", "new", "--repeat-share",
                 "0.75", "--distinct-images", "5", "--warmup", "0"}),
            client::kExitOk);
  std::map<std::string, int> uses;
  for (const v1::ChatRequest& request : chat_.requests()) ++uses[PictureOf(request)];
  EXPECT_EQ(chat_.requests().size(), 40u + 5);  // each repeated picture once before
  EXPECT_EQ(uses.size(), 5u + 10);
  EXPECT_EQ(std::ranges::count_if(uses, [](const auto& use) { return use.second > 1; }), 5);
}

TEST_F(BenchTest, FindsAPromptOfTheWantedTokens) {
  EXPECT_EQ(Run({"--prompt-tokens", "41", "--requests", "3", "--warmup", "0"}), client::kExitOk)
      << error_.str();
  const nlohmann::json json = Json();
  EXPECT_EQ(json["request"]["prompt_tokens"], 41);
  EXPECT_EQ(json["points"][0]["usage"]["prompt_tokens"], 3 * 41);
  EXPECT_EQ(Run({"--prompt-tokens", "5"}), client::kExitUsage);
  EXPECT_THAT(error_.str(), HasSubstr("--prompt-tokens: no prompt of 2 tokens"));
  EXPECT_THAT(error_.str(), HasSubstr("the media add 3"));
}

TEST_F(BenchTest, CtrlCEndsTheRequestsInFlightAndKeepsTheResult) {
  chat_.hang = true;
  std::thread presser([this] {
    chat_.AwaitRequests(3);
    kill(getpid(), SIGINT);
  });
  EXPECT_EQ(Run({"--concurrency", "3,4", "--requests", "9", "--warmup", "0"}),
            client::kExitInterrupted);
  presser.join();
  const nlohmann::json json = Json();
  ASSERT_EQ(json["points"].size(), 1u);
  EXPECT_EQ(json["points"][0]["requests"]["unfinished"], 3);
  EXPECT_EQ(json["points"][0]["requests"]["failed"], 0);
  EXPECT_EQ(chat_.requests().size(), 3u);
}

TEST_F(BenchTest, SaysInOneLineThatThereIsNoServer) {
  server_->Shutdown();
  EXPECT_EQ(Run({"--requests", "1"}), client::kExitUnavailable);
  EXPECT_THAT(error_.str(), HasSubstr(absl::StrCat("no answer from 127.0.0.1:", port_)));
  EXPECT_EQ(std::ranges::count(error_.str(), '\n'), 1);
  EXPECT_EQ(out_.str(), "");
}

TEST_F(BenchTest, NamesAFileThatIsWrongBeforeAnyLoad) {
  EXPECT_EQ(Run({"--video", "/nowhere/a.mp4"}), client::kExitNoInput);
  EXPECT_THAT(error_.str(), HasSubstr("/nowhere/a.mp4"));
  EXPECT_EQ(Run({"--json", "/nowhere/a.json", "--requests", "1"}), client::kExitOther);
  EXPECT_THAT(error_.str(), HasSubstr("/nowhere/a.json cannot be written"));
  EXPECT_TRUE(chat_.requests().empty());
}

}  // namespace
}  // namespace llavamini::bench
