// Every refusal of a call, as a status that carries what a program needs to know about it: reason,
// field, limit, time to wait. All interfaces turn these into their own form
// (server/rpc/status_mapping.h). Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace llavamini {

// What a status made here carries besides its code and message.
struct ErrorDetails {
  std::string reason;  // UPPER_SNAKE_CASE; empty when the status was not made here
  std::string field;   // path such as "messages[0].content[1].image.source"; empty when it is no
                       // single field's fault
  std::map<std::string, std::string> metadata;
  std::optional<absl::Duration> retry_after;
};
ErrorDetails ErrorDetailsOf(const absl::Status& status);

// INVALID_ARGUMENT, INVALID_FIELD: `allowed` says what may stand in the field.
absl::Status InvalidField(std::string_view field, std::string_view allowed);

// INVALID_ARGUMENT, MEDIA_UNSUPPORTED, MEDIA_CORRUPT or MEDIA_TOO_LARGE; `error` comes from
// server/media.
absl::Status InvalidMedia(std::string_view field, const absl::Status& error);

// INVALID_ARGUMENT, CONTEXT_LENGTH_EXCEEDED with the limit and the prompt's length, in tokens.
absl::Status ContextLengthExceeded(int64_t limit, int64_t length);

// UNIMPLEMENTED, NOT_SERVED: part of the contract that this server does not serve. `field` may be
// empty.
absl::Status NotServed(std::string_view field, std::string_view what);

// NOT_FOUND, MODEL_NOT_FOUND.
absl::Status ModelNotFound();

// RESOURCE_EXHAUSTED, QUEUE_FULL, with a time to wait.
absl::Status QueueFull();

// UNAVAILABLE, LOADING or DRAINING, with a time to wait.
absl::Status Loading();
absl::Status Draining();

// RESOURCE_EXHAUSTED, SLOW_READER: the answer waited unread past the bound.
absl::Status SlowReader(int64_t limit_bytes);

}  // namespace llavamini
