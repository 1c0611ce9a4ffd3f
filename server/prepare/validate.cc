#include "server/prepare/validate.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/prepare/errors.h"
#include "server/prepare/validate_params.h"

namespace llavamini {
namespace {

// What has been seen of a conversation so far.
struct Totals {
  int64_t text_bytes = 0;
  int64_t media_parts = 0;
};

absl::Status ValidateSource(const std::string& field, const MediaSource& source) {
  switch (source.kind) {
    case MediaSource::Kind::kMissing:
      return InvalidField(field, "must be set: data holds the file's bytes");
    case MediaSource::Kind::kMediaId:
      return NotServed(field + ".media_id", "MediaService is not served; send the bytes in data");
    case MediaSource::Kind::kData:
      if (source.bytes.empty()) return InvalidField(field + ".data", "must not be empty");
  }
  return absl::OkStatus();
}

absl::Status ValidateDetail(const std::string& field, Detail detail) {
  if (detail != Detail::kUnknown) return absl::OkStatus();
  return InvalidField(field, "must be DETAIL_UNSPECIFIED, DETAIL_LOW or DETAIL_HIGH");
}

// Finite and not negative; false for NaN.
bool IsTime(double seconds) { return seconds >= 0 && std::isfinite(seconds); }

absl::Status ValidateSampling(const std::string& field, const FrameSampling& sampling) {
  if (sampling.fps && !(*sampling.fps > 0 && std::isfinite(*sampling.fps))) {
    return InvalidField(field + ".fps", "must be a finite number above 0");
  }
  if (sampling.num_frames == 0u) return InvalidField(field + ".num_frames", "must be at least 1");
  if (sampling.max_frames == 0u) return InvalidField(field + ".max_frames", "must be at least 1");
  if (!IsTime(sampling.start_seconds)) return InvalidField(field + ".start", "must be at least 0");
  if (sampling.end_seconds &&
      !(IsTime(*sampling.end_seconds) && *sampling.end_seconds > sampling.start_seconds)) {
    return InvalidField(field + ".end", "must be after start");
  }
  return absl::OkStatus();
}

// Checks one part; `field` is its path.
class PartValidator {
 public:
  PartValidator(std::string field, Role role, const CallLimits& limits, Totals& totals)
      : field_(std::move(field)), role_(role), limits_(limits), totals_(totals) {}

  absl::Status operator()(std::monostate) const {
    return InvalidField(field_, "must be one of text, image, video and frames");
  }

  absl::Status operator()(const TextPart& part) const {
    totals_.text_bytes += static_cast<int64_t>(part.text.size());
    if (totals_.text_bytes <= limits_.max_text_bytes) return absl::OkStatus();
    return InvalidField(field_ + ".text", absl::StrCat("all texts together may have at most ",
                                                       limits_.max_text_bytes, " bytes"));
  }

  absl::Status operator()(const ImagePart& part) const {
    const std::string field = field_ + ".image";
    if (absl::Status status = CountMedia(field); !status.ok()) return status;
    if (absl::Status status = ValidateDetail(field + ".detail", part.detail); !status.ok()) {
      return status;
    }
    return ValidateSource(field + ".source", part.source);
  }

  absl::Status operator()(const VideoPart& part) const {
    const std::string field = field_ + ".video";
    if (absl::Status status = CountMedia(field); !status.ok()) return status;
    if (absl::Status status = ValidateDetail(field + ".detail", part.detail); !status.ok()) {
      return status;
    }
    if (absl::Status status = ValidateSampling(field + ".sampling", part.sampling); !status.ok()) {
      return status;
    }
    return ValidateSource(field + ".source", part.source);
  }

  absl::Status operator()(const FramesPart& part) const {
    const std::string field = field_ + ".frames";
    if (absl::Status status = CountMedia(field); !status.ok()) return status;
    if (absl::Status status = ValidateDetail(field + ".detail", part.detail); !status.ok()) {
      return status;
    }
    const auto count = static_cast<int64_t>(part.frames.size());
    if (count < 1 || count > limits_.max_frames) {
      return InvalidField(field + ".frames",
                          absl::StrCat("must have 1 to ", limits_.max_frames, " frames"));
    }
    for (size_t i = 0; i < part.frames.size(); ++i) {
      const std::string source = absl::StrCat(field, ".frames[", i, "].source");
      if (absl::Status status = ValidateSource(source, part.frames[i]); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CountMedia(const std::string& field) const {
    if (role_ != Role::kUser) {
      return InvalidField(field, "only the user's messages may have media");
    }
    if (++totals_.media_parts > limits_.max_images) {
      return InvalidField(field, absl::StrCat("a request may have at most ", limits_.max_images,
                                              " image, video or frame sequence"));
    }
    return absl::OkStatus();
  }

  const std::string field_;
  const Role role_;
  const CallLimits& limits_;
  Totals& totals_;
};

bool SaysSomething(const ContentPart& part) {
  const auto* text = std::get_if<TextPart>(&part);
  return text == nullptr || !std::all_of(text->text.begin(), text->text.end(), [](char c) {
           return absl::ascii_isspace(static_cast<unsigned char>(c));
         });
}

absl::Status ValidateRole(const std::string& field, Role role, bool first) {
  if (role == Role::kUnspecified || role == Role::kUnknown) {
    return InvalidField(field, "must be ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT");
  }
  if (role == Role::kSystem && !first) {
    return InvalidField(field, "ROLE_SYSTEM is allowed for the first message only");
  }
  return absl::OkStatus();
}

absl::Status ValidateMessage(size_t index, const ChatMessage& message, const CallLimits& limits,
                             Totals& totals) {
  const std::string field = absl::StrCat("messages[", index, "]");
  if (absl::Status status = ValidateRole(field + ".role", message.role, index == 0); !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < message.content.size(); ++i) {
    const PartValidator validator(absl::StrCat(field, ".content[", i, "]"), message.role, limits,
                                  totals);
    if (absl::Status status = std::visit(validator, message.content[i]); !status.ok()) {
      return status;
    }
  }
  if (std::none_of(message.content.begin(), message.content.end(), SaysSomething)) {
    return InvalidField(field + ".content", "must have media or text other than white space");
  }
  return absl::OkStatus();
}

absl::Status ValidateMessages(const ChatCall& call, const CallLimits& limits) {
  const auto count = static_cast<int64_t>(call.messages.size());
  if (count < 1 || count > limits.max_messages) {
    return InvalidField("messages",
                        absl::StrCat("must have 1 to ", limits.max_messages, " messages"));
  }
  Totals totals;
  for (size_t i = 0; i < call.messages.size(); ++i) {
    absl::Status status = ValidateMessage(i, call.messages[i], limits, totals);
    if (!status.ok()) return status;
  }
  if (call.messages.back().role != Role::kUser) {
    return InvalidField(absl::StrCat("messages[", count - 1, "].role"),
                        "the last message must be ROLE_USER");
  }
  return absl::OkStatus();
}

}  // namespace

bool IsValidRequestId(std::string_view id, const CallLimits& limits) {
  return static_cast<int64_t>(id.size()) <= limits.max_request_id_bytes &&
         std::all_of(id.begin(), id.end(),
                     [](char c) { return absl::ascii_isprint(static_cast<unsigned char>(c)); });
}

absl::Status ValidateCall(const ChatCall& call, const ServedModel& model,
                          const CallLimits& limits) {
  if (!IsValidRequestId(call.request_id, limits)) {
    return InvalidField("request_id", absl::StrCat("must be at most ", limits.max_request_id_bytes,
                                                   " printable ASCII characters"));
  }
  if (!call.model.empty() && call.model != model.name) return ModelNotFound();
  if (absl::Status status = ValidateMessages(call, limits); !status.ok()) return status;
  return ValidateParams(call.params, model, limits);
}

}  // namespace llavamini
