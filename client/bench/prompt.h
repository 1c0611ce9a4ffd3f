// A text of exactly so many tokens, by asking for counts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace llavamini::bench {

// The prompt tokens of the whole request with this text as its question.
using CountPrompt = std::function<absl::StatusOr<int64_t>(const std::string& text)>;

// A question of whole words whose request has exactly `tokens` prompt tokens, found with about
// 2 log2(tokens) counts. OUT_OF_RANGE when even one word has more, or when no text that was tried
// meets the number; errors of `count` as they are.
absl::StatusOr<std::string> FindPrompt(int64_t tokens, const CountPrompt& count);

}  // namespace llavamini::bench
