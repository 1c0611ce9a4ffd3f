// The options of `llavamini-bench`, one by one. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/types/span.h"
#include "client/bench/arguments.h"

namespace llavamini::bench {

// What was given beside its value, for the rules between options.
struct Draft {
  Arguments arguments;
  bool image = false;
  bool prompt = false;
  bool pictures_shaped = false;  // --image-size, --image-format
  bool distinct = false;
  std::optional<double> share;
};

struct Option {
  const char* name;
  const char* value;  // what it takes, as the help shows it; empty: nothing
  const char* help;
  bool (*apply)(const std::string& value, Draft& draft);  // false: not such a value
};

// In the order of the help.
absl::Span<const Option> Options();

}  // namespace llavamini::bench
