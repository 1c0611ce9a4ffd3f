#include "server/rpc/status_mapping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "server/media/media_error.h"
#include "server/prepare/errors.h"
#include "tests/server/rpc/service_fixture.h"

namespace llavamini {
namespace {

struct Case {
  absl::Status status;
  grpc::StatusCode code;
  std::string reason;
  size_t bad_requests;
  size_t retries;
};

TEST(StatusMapping, TellsReasonFieldAndTimeToWait) {
  const absl::Status media = MediaError(MediaFailure::kCorrupt, "the file ends too early");
  const Case cases[] = {
      {InvalidField("a.b", "must be 1"), grpc::INVALID_ARGUMENT, "INVALID_FIELD", 1, 0},
      {InvalidMedia("a.b", media), grpc::INVALID_ARGUMENT, "MEDIA_CORRUPT", 1, 0},
      {ContextLengthExceeded(10, 20), grpc::INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED", 1, 0},
      {ModelNotFound(), grpc::NOT_FOUND, "MODEL_NOT_FOUND", 0, 0},
      {NotServed("a.b", "not served"), grpc::UNIMPLEMENTED, "NOT_SERVED", 0, 0},
      {QueueFull(), grpc::RESOURCE_EXHAUSTED, "QUEUE_FULL", 0, 1},
      {SlowReader(5), grpc::RESOURCE_EXHAUSTED, "SLOW_READER", 0, 0},
      {Loading(), grpc::UNAVAILABLE, "LOADING", 0, 1},
      {Draining(), grpc::UNAVAILABLE, "DRAINING", 0, 1},
      {absl::CancelledError("x"), grpc::CANCELLED, "CANCELLED", 0, 0},
      {absl::DeadlineExceededError("x"), grpc::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 0, 0},
      {absl::ResourceExhaustedError("x"), grpc::RESOURCE_EXHAUSTED, "OVERLOADED", 0, 1},
      {absl::UnavailableError("x"), grpc::UNAVAILABLE, "DRAINING", 0, 1},
      {absl::InternalError("x"), grpc::INTERNAL, "INTERNAL", 0, 0},
      {absl::AbortedError("x"), grpc::INTERNAL, "INTERNAL", 0, 0},
      {absl::InvalidArgumentError("x"), grpc::INTERNAL, "INTERNAL", 0, 0},
      {media, grpc::INTERNAL, "INTERNAL", 0, 0},
  };
  for (const Case& test : cases) {
    const grpc::Status status = ToGrpcStatus(test.status, "id 1", "e1");
    EXPECT_EQ(status.error_code(), test.code) << test.status;
    EXPECT_EQ(ReasonIn(status), test.reason) << test.status;
    EXPECT_EQ(DetailsOf<google::rpc::BadRequest>(status).size(), test.bad_requests) << test.status;
    EXPECT_EQ(DetailsOf<google::rpc::RetryInfo>(status).size(), test.retries) << test.status;
    ASSERT_EQ(DetailsOf<google::rpc::RequestInfo>(status).size(), 1u) << test.status;
    EXPECT_EQ(DetailsOf<google::rpc::RequestInfo>(status)[0].request_id(), "id 1");
    EXPECT_EQ(IsInternalFailure(test.status), test.code == grpc::INTERNAL) << test.status;
  }
}

TEST(StatusMapping, SplitsTheFieldFromWhatIsAllowed) {
  const auto details = DetailsOf<google::rpc::BadRequest>(
      ToGrpcStatus(InvalidField("params.top_p", "must be in (0, 1]"), "", ""));
  ASSERT_EQ(details.size(), 1u);
  EXPECT_EQ(details[0].field_violations(0).field(), "params.top_p");
  EXPECT_EQ(details[0].field_violations(0).description(), "must be in (0, 1]");
}

TEST(StatusMapping, KeepsInternalTextToItself) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError("0x7fff secret"), "", "abc123");
  EXPECT_THAT(status.error_message(), testing::Not(testing::HasSubstr("secret")));
  EXPECT_THAT(status.error_details(), testing::Not(testing::HasSubstr("secret")));
  EXPECT_THAT(status.error_message(), testing::HasSubstr("abc123"));
}

TEST(StatusMapping, LeavesSuccessAlone) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus(), "id", "").ok());
}

}  // namespace
}  // namespace llavamini
