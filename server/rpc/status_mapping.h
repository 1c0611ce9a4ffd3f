// absl::Status -> gRPC status with google.rpc details: the one place that decides what a caller is
// told. Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace llavamini {

// Whether a failure is our own: its text is for the log, the caller gets an id.
bool IsInternalFailure(const absl::Status& status);

// ErrorInfo (domain "llavamini"), BadRequest, RetryInfo and RequestInfo as they apply. `error_id`
// names an internal failure and is unused otherwise.
grpc::Status ToGrpcStatus(const absl::Status& status, std::string_view request_id,
                          std::string_view error_id);

// The reason that a status carries to callers, such as "QUEUE_FULL".
std::string ReasonOf(const absl::Status& status);

}  // namespace llavamini
