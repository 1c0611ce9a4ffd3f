#include "client/bench/report.h"

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini::bench {
namespace {

constexpr int64_t kMs = 1'000'000;

Sample Answered(int64_t due_ms, int64_t start_ms, int64_t first_ms, int64_t end_ms) {
  Sample sample;
  sample.due_ns = due_ms * kMs;
  sample.start_ns = start_ms * kMs;
  sample.first_ns = first_ms * kMs;
  sample.end_ns = end_ms * kMs;
  sample.prompt_tokens = 41;
  sample.completion_tokens = 10;
  sample.images = 2;
  sample.cached_images = 1;
  sample.queue_ms = 3;
  return sample;
}

Sample Failed(grpc::StatusCode code, int64_t due_ms, int64_t end_ms) {
  Sample sample;
  sample.due_ns = sample.start_ns = due_ms * kMs;
  sample.end_ns = end_ms * kMs;
  sample.code = code;
  return sample;
}

LoadResult SomeResult() {
  LoadResult result;
  result.samples = {Answered(1000, 1000, 1100, 2000), Answered(1500, 1700, 1800, 3000),
                    Failed(grpc::StatusCode::RESOURCE_EXHAUSTED, 1200, 1300),
                    Failed(grpc::StatusCode::CANCELLED, 2000, 9000)};
  result.gaps_ms = {5, 10, 15};
  result.most_in_flight = 3;
  return result;
}

TEST(Measure, TakesTheWindowFromTheFirstDueToTheLastAnswer) {
  const Point point = Measure(/*open_loop=*/true, 7, SomeResult(), /*stopped=*/false);
  EXPECT_DOUBLE_EQ(point.window_s, 2);
  EXPECT_DOUBLE_EQ(point.requests_per_s, 1);
  EXPECT_DOUBLE_EQ(point.output_tokens_per_s, 10);
  EXPECT_DOUBLE_EQ(point.images_per_s, 2);
  EXPECT_EQ(point.prompt_tokens, 82);
  EXPECT_EQ(point.cached_images, 2);
  EXPECT_EQ(point.most_in_flight, 3);
}

TEST(Measure, CountsLatencyFromTheScheduledArrival) {
  const Point point = Measure(true, 7, SomeResult(), false);
  EXPECT_EQ(point.ttft.count, 2);
  EXPECT_EQ(point.ttft.max, 300);  // of which 200 were spent in the client
  EXPECT_EQ(point.start_delay.max, 200);
  EXPECT_EQ(point.e2e.p50, 1000);
  EXPECT_EQ(point.e2e.max, 1500);
  EXPECT_EQ(point.itl.mean, 10);
  EXPECT_EQ(point.queue.mean, 3);
}

TEST(Measure, CountsErrorsByCodeAndCtrlCApart) {
  const Point whole = Measure(true, 7, SomeResult(), /*stopped=*/false);
  EXPECT_EQ(whole.started, 4);
  EXPECT_EQ(whole.answered, 2);
  EXPECT_EQ(whole.failed, 2);
  EXPECT_THAT(whole.errors, testing::ElementsAre(testing::Pair("CANCELLED", 1),
                                                 testing::Pair("RESOURCE_EXHAUSTED", 1)));
  const Point stopped = Measure(true, 7, SomeResult(), /*stopped=*/true);
  EXPECT_EQ(stopped.failed, 1);
  EXPECT_EQ(stopped.unfinished, 1);
  EXPECT_THAT(stopped.errors, testing::ElementsAre(testing::Pair("RESOURCE_EXHAUSTED", 1)));
}

TEST(Measure, LeavesAnswersWithoutTextOutOfTheFirstToken) {
  LoadResult result;
  result.samples = {Answered(0, 0, 10, 20), Answered(0, 0, 0, 20)};
  EXPECT_EQ(Measure(false, 1, result, false).ttft.count, 1);
}

TEST(Measure, OfNothingIsZero) {
  const Point none = Measure(false, 1, {}, false);
  EXPECT_EQ(none.started, 0);
  EXPECT_EQ(none.window_s, 0);
  EXPECT_EQ(none.requests_per_s, 0);
}

TEST(Table, HasTheColumnsOfItsHeadInEachRow) {
  const std::vector<std::string> head = absl::StrSplit(TableHead(true), '\n');
  ASSERT_EQ(head.size(), 2u);
  const std::string row = TableRow(Measure(true, 12.5, SomeResult(), false));
  EXPECT_EQ(head[0].size(), row.size());
  EXPECT_EQ(head[1].size(), row.size());
  for (size_t i = 0; i < row.size(); ++i) {
    EXPECT_EQ(row[i] == '|', head[0][i] == '|') << i;
    EXPECT_EQ(row[i] == '|', head[1][i] == '|') << i;
  }
  const std::vector<std::string> cells = absl::StrSplit(row, ' ', absl::SkipEmpty());
  EXPECT_THAT(cells, testing::ElementsAre("12.5", "2", "2", "1.00", "10.0", "2.00",          //
                                          "|", "200.0", "100.0", "300.0", "300.0", "300.0",  //
                                          "|", "10.00", "10.00", "15.00", "15.00", "15.00",  //
                                          "|", "1250.0", "1000.0", "1500.0", "1500.0", "1500.0"));
}

TEST(Json, HoldsParametersServerAndPoints) {
  const std::vector<std::string> words = {"--rate", "7,8", "--requests", "4", "--label", "night"};
  const Arguments arguments = *ParseArguments(words, "host:1");
  RunFacts facts;
  facts.server.set_device("a GPU");
  facts.model.set_name("tiny");
  facts.request.set_prompt_tokens(41);
  facts.question = "why";
  facts.picture_bytes = 5000;
  facts.threads = 2;
  facts.start_time = "2025-01-01T00:00:00+00:00";
  const auto json = ToJson(arguments, facts, {Measure(true, 7, SomeResult(), false)});
  EXPECT_EQ(json["label"], "night");
  EXPECT_EQ(json["start_time"], "2025-01-01T00:00:00+00:00");
  EXPECT_EQ(json["server"]["device"], "a GPU");
  EXPECT_EQ(json["model"]["name"], "tiny");
  EXPECT_EQ(json["request"]["prompt_tokens"], 41);
  EXPECT_EQ(json["parameters"]["rates"], (std::vector<double>{7, 8}));
  EXPECT_EQ(json["parameters"]["requests"], 4);
  EXPECT_TRUE(json["parameters"]["duration_s"].is_null());
  EXPECT_TRUE(json["parameters"]["top_k"].is_null());
  EXPECT_EQ(json["parameters"]["threads"], 2);
  EXPECT_EQ(json["parameters"]["prompt"], "why");
  EXPECT_EQ(json["parameters"]["ignore_eos"], true);
  EXPECT_EQ(json["parameters"]["media"]["kind"], "image");
  EXPECT_EQ(json["parameters"]["media"]["file_bytes"], 5000);
  EXPECT_EQ(json["percentiles"], "nearest rank");
  ASSERT_EQ(json["points"].size(), 1u);
  const auto& point = json["points"][0];
  EXPECT_EQ(point["mode"], "open");
  EXPECT_EQ(point["rate"], 7);
  EXPECT_FALSE(point.contains("concurrency"));
  EXPECT_EQ(point["duration_s"], 2);
  EXPECT_EQ(point["requests"]["answered"], 2);
  EXPECT_EQ(point["errors"]["RESOURCE_EXHAUSTED"], 1);
  EXPECT_EQ(point["usage"]["completion_tokens"], 20);
  EXPECT_EQ(point["ttft_ms"]["p99"], 300);
  EXPECT_EQ(point["itl_ms"]["count"], 3);
  EXPECT_EQ(point["server_ms"]["queue"]["p50"], 3);
}

}  // namespace
}  // namespace llavamini::bench
