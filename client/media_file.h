// A picture or video from the disk, bounded before it is read.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace llavamini::client {

// The server's message limit: a larger file can never be sent.
inline constexpr int64_t kMaxFileBytes = int64_t{64} << 20;

// The whole file. Errors name the path: NOT_FOUND, PERMISSION_DENIED, ... when it cannot be opened
// or read; FAILED_PRECONDITION when it is a folder, RESOURCE_EXHAUSTED when it is larger than
// kMaxFileBytes (a regular file is then not read at all).
absl::StatusOr<std::string> ReadMediaFile(const std::string& path);

}  // namespace llavamini::client
