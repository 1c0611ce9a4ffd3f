// One line per request: its id, how it ended, tokens and times; never contents, texts or addresses.
// Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "server/engine/request.h"

namespace llavamini {

enum class LogFormat { kText, kJson };

// Name of the spdlog logger whose messages are, in JSON form, the members of an object (see
// server/logging.h).
inline constexpr char kRequestLogger[] = "request";

struct RequestRecord {
  std::string_view method;
  std::string_view id;
  std::string_view status;    // "OK", "INVALID_ARGUMENT", ...
  std::string_view reason;    // why it ended: "STOP", "QUEUE_FULL", ...
  std::string_view error_id;  // of an internal failure, else empty
  Usage usage;
  Timings timings;
};

// The line: `request id="…" method=Chat status=OK …`, or the members of a JSON object without its
// braces.
std::string FormatRequest(const RequestRecord& record, LogFormat format);

// Writes it to the logger kRequestLogger, or to the default one where there is none.
void LogRequest(const RequestRecord& record, LogFormat format);

}  // namespace llavamini
