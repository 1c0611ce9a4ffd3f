// What the programs that measure do about errors: they end, and say why.
#pragma once

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llavamini {

template <typename Value>
Value Checked(absl::StatusOr<Value> value) {
  if (!value.ok()) throw std::runtime_error(value.status().ToString());
  return *std::move(value);
}
inline void Checked(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

// The exit code of run(arguments), 70 where it throws.
inline int RunMain(const char* program, int argc, char** argv,
                   int (*run)(const std::vector<std::string>& arguments)) {
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return 70;
  }
}

}  // namespace llavamini
