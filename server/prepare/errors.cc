#include "server/prepare/errors.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/media/media_error.h"

namespace llavamini {
namespace {

constexpr char kReason[] = "llavamini/reason";
constexpr char kField[] = "llavamini/field";
constexpr char kRetryAfterMs[] = "llavamini/retry_after_ms";
constexpr std::string_view kMetadata = "llavamini/metadata/";  // then the key

constexpr absl::Duration kRetryWhenFull = absl::Seconds(1);
constexpr absl::Duration kRetryWhenLoading = absl::Seconds(5);
constexpr absl::Duration kRetryWhenDraining = absl::Seconds(1);

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Make(absl::StatusCode code, std::string_view reason, std::string_view field,
                  std::string_view message) {
  const std::string whole =
      field.empty() ? std::string(message) : absl::StrCat(View(field), ": ", View(message));
  absl::Status status(code, whole);
  status.SetPayload(kReason, absl::Cord(View(reason)));
  if (!field.empty()) status.SetPayload(kField, absl::Cord(View(field)));
  return status;
}

void AddMetadata(absl::Status& status, std::string_view key, int64_t value) {
  status.SetPayload(absl::StrCat(View(kMetadata), View(key)), absl::Cord(absl::StrCat(value)));
}

absl::Status WithRetry(absl::Status status, absl::Duration wait) {
  status.SetPayload(kRetryAfterMs, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(wait))));
  return status;
}

std::string_view ReasonOf(MediaFailure failure) {
  switch (failure) {
    case MediaFailure::kUnsupported:
      return "MEDIA_UNSUPPORTED";
    case MediaFailure::kCorrupt:
      return "MEDIA_CORRUPT";
    case MediaFailure::kTooLarge:
      return "MEDIA_TOO_LARGE";
  }
  return "MEDIA_CORRUPT";
}

}  // namespace

ErrorDetails ErrorDetailsOf(const absl::Status& status) {
  ErrorDetails details;
  status.ForEachPayload([&details](absl::string_view url, const absl::Cord& payload) {
    const std::string value(payload);
    const std::string_view key(url.data(), url.size());
    int64_t milliseconds = 0;
    if (key == kReason) {
      details.reason = value;
    } else if (key == kField) {
      details.field = value;
    } else if (key == kRetryAfterMs && absl::SimpleAtoi(value, &milliseconds)) {
      details.retry_after = absl::Milliseconds(milliseconds);
    } else if (key.substr(0, kMetadata.size()) == kMetadata) {
      details.metadata[std::string(key.substr(kMetadata.size()))] = value;
    }
  });
  return details;
}

absl::Status InvalidField(std::string_view field, std::string_view allowed) {
  return Make(absl::StatusCode::kInvalidArgument, "INVALID_FIELD", field, allowed);
}

absl::Status InvalidMedia(std::string_view field, const absl::Status& error) {
  const std::optional<MediaFailure> failure = MediaFailureOf(error);
  if (!failure) return error;
  const absl::string_view message = error.message();
  return Make(absl::StatusCode::kInvalidArgument, ReasonOf(*failure), field,
              std::string_view(message.data(), message.size()));
}

absl::Status ContextLengthExceeded(int64_t limit, int64_t length) {
  absl::Status status =
      Make(absl::StatusCode::kInvalidArgument, "CONTEXT_LENGTH_EXCEEDED", "messages",
           absl::StrCat("the prompt takes ", length,
                        " tokens; prompt and answer together have room for ", limit));
  AddMetadata(status, "limit", limit);
  AddMetadata(status, "length", length);
  return status;
}

absl::Status NotServed(std::string_view field, std::string_view what) {
  return Make(absl::StatusCode::kUnimplemented, "NOT_SERVED", field, what);
}

absl::Status ModelNotFound() {
  return Make(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", "model",
              "no such model is served; ListModels names those that are, empty takes the default");
}

absl::Status QueueFull() {
  return WithRetry(Make(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "",
                        "the queue is full; try again later"),
                   kRetryWhenFull);
}

absl::Status Loading() {
  return WithRetry(
      Make(absl::StatusCode::kUnavailable, "LOADING", "", "the server is still loading its model"),
      kRetryWhenLoading);
}

absl::Status Draining() {
  return WithRetry(
      Make(absl::StatusCode::kUnavailable, "DRAINING", "", "the server is shutting down"),
      kRetryWhenDraining);
}

absl::Status SlowReader(int64_t limit_bytes) {
  absl::Status status =
      Make(absl::StatusCode::kResourceExhausted, "SLOW_READER", "",
           absl::StrCat("the answer was not read: more than ", limit_bytes, " bytes waited"));
  AddMetadata(status, "limit", limit_bytes);
  return status;
}

}  // namespace llavamini
