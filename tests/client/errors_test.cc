#include "client/errors.h"

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

namespace llavamini::client {
namespace {

template <typename... Detail>
grpc::Status StatusWith(grpc::StatusCode code, const std::string& message,
                        const Detail&... details) {
  google::rpc::Status rich;
  (rich.add_details()->PackFrom(details), ...);
  return {code, message, rich.SerializeAsString()};
}

TEST(ErrorText, SaysReasonAndField) {
  google::rpc::ErrorInfo info;
  info.set_reason("MEDIA_CORRUPT");
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("messages[0].content[0].image");
  violation->set_description("must be a whole file");
  EXPECT_EQ(
      ErrorText(StatusWith(grpc::StatusCode::INVALID_ARGUMENT, "the file is cut off", info, bad),
                "a:1"),
      "refused: the file is cut off (MEDIA_CORRUPT)\n"
      "  messages[0].content[0].image: must be a whole file");
}

TEST(ErrorText, SaysNothingTwice) {
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("messages");
  violation->set_description("must not be empty");
  EXPECT_EQ(
      ErrorText(StatusWith(grpc::StatusCode::INVALID_ARGUMENT, "messages: must not be empty", bad),
                "a:1"),
      "refused: messages: must not be empty");
}

TEST(ErrorText, SaysWhenToTryAgain) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  EXPECT_EQ(ErrorText(StatusWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", retry),
                      "a:1"),
            "too much at once: the queue is full\n  try again in 1.5 s");
}

TEST(ErrorText, NamesTheAddressOnlyWhenNobodyAnswered) {
  EXPECT_EQ(ErrorText(grpc::Status(grpc::StatusCode::UNAVAILABLE, "refused"), "host:9"),
            "no answer from host:9: refused");
  google::rpc::ErrorInfo draining;
  draining.set_reason("DRAINING");
  EXPECT_EQ(ErrorText(StatusWith(grpc::StatusCode::UNAVAILABLE, "draining", draining), "host:9"),
            "not available: draining (DRAINING)");
}

TEST(ErrorText, SurvivesDetailsThatAreNoMessage) {
  EXPECT_EQ(ErrorText(grpc::Status(grpc::StatusCode::INTERNAL, "boom", "\xff\xff\xff"), "a:1"),
            "failed: boom");
}

TEST(ErrorText, KeepsTerminalControlSequencesOut) {
  const std::string text =
      ErrorText(grpc::Status(grpc::StatusCode::INTERNAL, "\x1b[2Jgone\r\x7f"), "a:1");
  EXPECT_EQ(text, "failed: ?[2Jgone??");
}

TEST(ExitCode, FollowsTheStatus) {
  const struct {
    grpc::StatusCode status;
    int exit_code;
  } kCases[] = {
      {grpc::StatusCode::OK, 0},
      {grpc::StatusCode::INVALID_ARGUMENT, 65},
      {grpc::StatusCode::UNAVAILABLE, 69},
      {grpc::StatusCode::NOT_FOUND, 70},
      {grpc::StatusCode::UNIMPLEMENTED, 70},
      {grpc::StatusCode::INTERNAL, 70},
      {grpc::StatusCode::CANCELLED, 70},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, 75},
      {grpc::StatusCode::DEADLINE_EXCEEDED, 75},
  };
  for (const auto& each : kCases) {
    EXPECT_EQ(ExitCodeOf(grpc::Status(each.status, "")), each.exit_code) << each.status;
  }
}

}  // namespace
}  // namespace llavamini::client
