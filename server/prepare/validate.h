// Checks a call before any of its media is decoded: the one path for every interface. Pure; safe
// from any thread.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "server/prepare/chat_call.h"
#include "server/prepare/served_model.h"

namespace llavamini {

// The first thing that is wrong, as INVALID_ARGUMENT with the field's path and what is allowed
// (errors.h); NOT_FOUND for another model; UNIMPLEMENTED for a part of the contract that is not
// served. Roles need not alternate, except that a system message stands first and the last message
// is the user's.
absl::Status ValidateCall(const ChatCall& call, const ServedModel& model, const CallLimits& limits);

// Whether a caller's name for a request can be logged and echoed: printable ASCII, not too long.
// Empty is usable.
bool IsValidRequestId(std::string_view id, const CallLimits& limits);

}  // namespace llavamini
