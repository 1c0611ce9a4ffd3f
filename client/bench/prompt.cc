#include "client/bench/prompt.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace llavamini::bench {
namespace {

constexpr auto kWords = std::to_array<const char*>(
    {"Look", "at",  "this",  "and",  "tell", "me",    "what", "you", "see", "there", "in",
     "a",    "few", "words", "then", "say",  "where", "it",   "is",  "and", "why"});
// Small additions for the last tokens, tried in this order.
constexpr auto kFillers = std::to_array<const char*>({" a", ".", "a", "!"});
constexpr int kMostFillers = 16;

std::string Words(int64_t count) {
  std::string text = kWords[0];
  for (int64_t i = 1; i < count; ++i) absl::StrAppend(&text, " ", kWords[i % kWords.size()]);
  return text;
}

struct CountedText {
  std::string text;
  int64_t tokens = 0;
};

// The most words that stay within `tokens`. Approaches the number from below in halves, so that no
// text much longer than wanted is ever sent: it might not fit the model's context.
absl::StatusOr<CountedText> MostWords(int64_t tokens, const CountPrompt& count) {
  int64_t words = 1;
  int64_t too_many = tokens + 1;  // a word has at least one token
  CountedText best{.text = Words(1)};
  const absl::StatusOr<int64_t> least = count(best.text);
  if (!least.ok()) return least.status();
  best.tokens = *least;
  if (best.tokens > tokens) {
    return absl::OutOfRangeError(absl::StrCat("no prompt of ", tokens, " tokens: the shortest has ",
                                              best.tokens, " for this request"));
  }
  while (best.tokens < tokens && words + 1 < too_many) {
    const int64_t step =
        std::max<int64_t>(1, std::min((tokens - best.tokens) / 2, (too_many - words) / 2));
    std::string text = Words(words + step);
    const absl::StatusOr<int64_t> counted = count(text);
    if (!counted.ok()) return counted.status();
    if (*counted > tokens) {
      too_many = words + step;
    } else {
      words += step;
      best = {.text = std::move(text), .tokens = *counted};
    }
  }
  return best;
}

}  // namespace

absl::StatusOr<std::string> FindPrompt(int64_t tokens, const CountPrompt& count) {
  absl::StatusOr<CountedText> best = MostWords(tokens, count);
  if (!best.ok()) return best.status();
  for (const char* filler : kFillers) {
    for (int i = 0; i < kMostFillers && best->tokens < tokens; ++i) {
      std::string text = absl::StrCat(best->text, filler);
      const absl::StatusOr<int64_t> counted = count(text);
      if (!counted.ok()) return counted.status();
      if (*counted > tokens) break;
      *best = {.text = std::move(text), .tokens = *counted};
    }
  }
  if (best->tokens != tokens) {
    return absl::OutOfRangeError(
        absl::StrCat("no prompt of ", tokens, " tokens was found: the nearest has ", best->tokens));
  }
  return std::move(best->text);
}

}  // namespace llavamini::bench
