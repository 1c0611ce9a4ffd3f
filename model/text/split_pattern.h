// Takes a splitting pattern of tokenizer.json, which is written for Oniguruma, over to PCRE2. Pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace llavamini {

// The pattern for PCRE2 (UTF and UCP set). Constructs that the two engines do not read alike are
// refused by name, so that a pattern that passes splits the same way. Only \s and \S are rewritten:
// PCRE2 counts U+180E as a space.
absl::StatusOr<std::string> TranslateSplitPattern(std::string_view pattern);

}  // namespace llavamini
