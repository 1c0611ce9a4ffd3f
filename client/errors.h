// A failed call in a line or two for a person, from the status and its google.rpc details. Pure.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "client/exit_code.h"

namespace llavamini::client {

ExitCode ExitCodeOf(const grpc::Status& status);

// Without a line feed at the end. The first line says what is wrong (and the reason, when the
// server names one), the second, where there is one, which fields are wrong and when to try again.
// `address` is named when no server answered at all.
std::string ErrorText(const grpc::Status& status, const std::string& address);

}  // namespace llavamini::client
