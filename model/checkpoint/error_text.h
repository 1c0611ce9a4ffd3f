// Pieces of one-line error messages about a checkpoint's files. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace llavamini {

// A name that came from a file: its bytes outside printable ASCII escaped, cut to 160 characters.
std::string Printable(const std::string& name);

// [2, 3]
std::string ShapeText(std::span<const int64_t> shape);

// The same failure, preceded by the file or folder that it is about.
absl::Status Within(const std::string& place, const absl::Status& status);

// The error of everything in this folder: the checkpoint is wrong, in one line.
template <typename... Parts>
absl::Status BadCheckpoint(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

}  // namespace llavamini
