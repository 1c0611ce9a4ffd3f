// The log: one line per record on standard error, as text or JSON, whatever a message holds.
// Written by a thread of its own, so that no other waits for a slow reader of it; the oldest lines
// are dropped when it falls behind.
#pragma once

#include <string>

#include "server/rpc/request_log.h"

namespace llavamini {

// One record as it is written, without the line's end. `logger` decides whether `message` is the
// members of a JSON object.
std::string FormatLogLine(const std::string& time, const std::string& level,
                          const std::string& logger, const std::string& message, LogFormat format);

// Once, before any thread logs. `level`: "debug", "info", "warning" or "error". gRPC's own
// messages, which may hold addresses of peers, are left out.
void StartLogging(const std::string& level, LogFormat format);

// Writes what waits. Once, at the end.
void StopLogging();

}  // namespace llavamini
