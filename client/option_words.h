// How an option stands on the command lines of `llavamini` and `llavamini-bench`: --name,
// --name=value, or --name and its value in the next word. Pure.
#pragma once

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace llavamini {

inline std::string OptionName(const std::string& word) { return word.substr(0, word.find('=')); }

// The option with this name, or null. An Option has `name`, `value` (what it takes, as the help
// shows it; empty: nothing) and `apply` (false: not such a value).
template <typename Option>
const Option* FindOption(absl::Span<const Option> options, const std::string& name) {
  const auto found = std::find_if(options.begin(), options.end(),
                                  [&](const Option& each) { return name == each.name; });
  return found == options.end() ? nullptr : &*found;
}

// Applies to `target` the option that `word` names. Its value may be words[*next], which is taken
// then. The error is one line that names the option.
template <typename Option, typename Target>
absl::Status ApplyOption(const Option& option, const std::string& word,
                         absl::Span<const std::string> words, size_t* next, Target& target) {
  const size_t equals = word.find('=');
  const bool takes_value = *option.value != '\0';
  std::string value;
  if (equals != std::string::npos) {
    if (!takes_value) {
      return absl::InvalidArgumentError(absl::StrCat(option.name, " takes no value"));
    }
    value = word.substr(equals + 1);
  } else if (takes_value) {
    if (*next == words.size()) {
      return absl::InvalidArgumentError(absl::StrCat(option.name, " needs ", option.value));
    }
    value = words[(*next)++];
  }
  if (option.apply(value, target)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(option.name, " takes ", option.value, ", not '", value, "'"));
}

}  // namespace llavamini
