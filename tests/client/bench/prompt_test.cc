#include "client/bench/prompt.h"

#include <cctype>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini::bench {
namespace {

constexpr int64_t kTemplateTokens = 17;

// Stand-ins of tokenizers, of very different tokens per word.
int64_t Words(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  int64_t tokens = kTemplateTokens;
  for (const std::string& word : words) {
    tokens += 1;
    for (const char each : word) tokens += std::ispunct(static_cast<unsigned char>(each)) != 0;
  }
  return tokens;
}
int64_t Characters(const std::string& text) { return kTemplateTokens + std::ssize(text); }
int64_t PairsOfCharacters(const std::string& text) {
  return kTemplateTokens + (std::ssize(text) + 1) / 2;
}

TEST(FindPrompt, MeetsEveryNumberAboveTheShortest) {
  for (int64_t (*tokenizer)(const std::string&) : {Words, Characters, PairsOfCharacters}) {
    for (const int64_t tokens : {21, 22, 23, 41, 64, 100, 257, 1000, 4096}) {
      int64_t most = 0;
      int calls = 0;
      const auto found = FindPrompt(tokens, [&](const std::string& text) {
        ++calls;
        most = std::max(most, tokenizer(text));
        return tokenizer(text);
      });
      ASSERT_TRUE(found.ok()) << tokens << ": " << found.status();
      EXPECT_EQ(tokenizer(*found), tokens);
      EXPECT_LE(calls, 60) << tokens;
      // A text far above the number might not fit the context.
      EXPECT_LE(most, 4 * tokens) << tokens;
    }
  }
}

TEST(FindPrompt, RefusesWhatCannotBeReached) {
  const auto too_few = FindPrompt(kTemplateTokens, Words);
  EXPECT_EQ(too_few.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(too_few.status().message()),
              testing::HasSubstr("no prompt of 17 tokens: the shortest has 18"));

  // Only even numbers.
  const auto odd = FindPrompt(
      41, [](const std::string& text) { return (kTemplateTokens + std::ssize(text)) / 2 * 2; });
  EXPECT_EQ(odd.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(odd.status().message()), testing::HasSubstr("the nearest has 40"));
}

TEST(FindPrompt, PassesOnWhatTheCountFailsWith) {
  const auto found = FindPrompt(
      41, [](const std::string&) -> absl::StatusOr<int64_t> { return absl::AbortedError("x"); });
  EXPECT_EQ(found.status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace llavamini::bench
