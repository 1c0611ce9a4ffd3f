#include "server/rpc/status_mapping.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/prepare/errors.h"
#include "server/rpc/convert.h"

namespace llavamini {
namespace {

constexpr char kDomain[] = "llavamini";
constexpr absl::Duration kRetryWhenOverloaded = absl::Seconds(1);

// What the caller is told.
struct Told {
  absl::StatusCode code = absl::StatusCode::kInternal;
  std::string message;
  ErrorDetails details;
};

Told Plain(absl::StatusCode code, std::string reason, std::string message) {
  Told told;
  told.code = code;
  told.message = std::move(message);
  told.details.reason = std::move(reason);
  return told;
}

// Statuses with a reason were made for callers; any other one is told in fixed words.
Told TellOf(const absl::Status& status) {
  ErrorDetails details = ErrorDetailsOf(status);
  if (!details.reason.empty()) {
    return {status.code(), std::string(status.message()), std::move(details)};
  }
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
      return Plain(status.code(), "CANCELLED", "the call was cancelled");
    case absl::StatusCode::kDeadlineExceeded:
      return Plain(status.code(), "DEADLINE_EXCEEDED", "the call's deadline has passed");
    case absl::StatusCode::kResourceExhausted: {
      Told told = Plain(status.code(), "OVERLOADED",
                        "the server has no room for this request now; try again later");
      told.details.retry_after = kRetryWhenOverloaded;
      return told;
    }
    case absl::StatusCode::kUnavailable:
      return TellOf(Draining());
    default:
      return Plain(absl::StatusCode::kInternal, "INTERNAL", "internal error");
  }
}

void AddDetails(const Told& told, std::string_view request_id, google::rpc::Status& out) {
  google::rpc::ErrorInfo info;
  info.set_reason(told.details.reason);
  info.set_domain(kDomain);
  for (const auto& [key, value] : told.details.metadata) (*info.mutable_metadata())[key] = value;
  out.add_details()->PackFrom(info);
  if (told.code == absl::StatusCode::kInvalidArgument && !told.details.field.empty()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(told.details.field);
    // The message is "field: what is allowed".
    violation->set_description(told.message.substr(told.details.field.size() + 2));
    out.add_details()->PackFrom(bad_request);
  }
  if (told.details.retry_after) {
    google::rpc::RetryInfo retry;
    *retry.mutable_retry_delay() = ToProto(*told.details.retry_after);
    out.add_details()->PackFrom(retry);
  }
  if (!request_id.empty()) {
    google::rpc::RequestInfo request;
    request.set_request_id(std::string(request_id));
    out.add_details()->PackFrom(request);
  }
}

}  // namespace

bool IsInternalFailure(const absl::Status& status) {
  return TellOf(status).code == absl::StatusCode::kInternal;
}

grpc::Status ToGrpcStatus(const absl::Status& status, std::string_view request_id,
                          std::string_view error_id) {
  if (status.ok()) return grpc::Status::OK;
  Told told = TellOf(status);
  if (told.code == absl::StatusCode::kInternal) {
    told.message = absl::StrCat("internal error; the server's log has more under error id ",
                                absl::string_view(error_id.data(), error_id.size()));
    told.details.metadata["error_id"] = std::string(error_id);
  }
  google::rpc::Status whole;
  whole.set_code(static_cast<int>(told.code));
  whole.set_message(told.message);
  AddDetails(told, request_id, whole);
  return {static_cast<grpc::StatusCode>(told.code), told.message, whole.SerializeAsString()};
}

std::string ReasonOf(const absl::Status& status) { return TellOf(status).details.reason; }

}  // namespace llavamini
