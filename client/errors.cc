#include "client/errors.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/output.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace llavamini::client {
namespace {

const char* NameOf(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "refused";
    case grpc::StatusCode::NOT_FOUND:
      return "not found";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "not served";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "too much at once";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "out of time";
    case grpc::StatusCode::UNAVAILABLE:
      return "not available";
    case grpc::StatusCode::CANCELLED:
      return "cancelled";
    default:
      return "failed";
  }
}

std::string RetryText(const google::rpc::RetryInfo& retry) {
  const double seconds =
      static_cast<double>(retry.retry_delay().seconds()) + retry.retry_delay().nanos() * 1e-9;
  return absl::StrFormat("try again in %.1f s", seconds);
}

struct Details {
  std::string reason;
  std::vector<std::string> notes;
};

Details DetailsOf(const grpc::Status& status) {
  Details details;
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return details;
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
  for (const google::protobuf::Any& any : rich.details()) {
    if (any.UnpackTo(&info)) {
      details.reason = info.reason();
    } else if (any.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        std::string note = absl::StrCat(violation.field(), ": ", violation.description());
        if (!absl::StrContains(status.error_message(), note))
          details.notes.push_back(std::move(note));
      }
    } else if (any.UnpackTo(&retry)) {
      details.notes.push_back(RetryText(retry));
    }
  }
  return details;
}

}  // namespace

ExitCode ExitCodeOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return kExitOk;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return kExitRefused;
    case grpc::StatusCode::UNAVAILABLE:
      return kExitUnavailable;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return kExitTryAgain;
    default:
      return kExitOther;
  }
}

std::string ErrorText(const grpc::Status& status, const std::string& address) {
  const Details details = DetailsOf(status);
  std::string text = NameOf(status.error_code());
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty()) {
    text = absl::StrCat("no answer from ", address);
  }
  if (!status.error_message().empty()) absl::StrAppend(&text, ": ", status.error_message());
  if (!details.reason.empty()) absl::StrAppend(&text, " (", details.reason, ")");
  text = Printable(text);
  if (!details.notes.empty()) {
    absl::StrAppend(&text, "\n  ", Printable(absl::StrJoin(details.notes, "; ")));
  }
  return text;
}

}  // namespace llavamini::client
