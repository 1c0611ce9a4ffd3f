// A vocabulary of letters, pieces of words, whole and split UTF-8 characters and special tokens,
// for the fake model's answers.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "model/text/tokenizer.h"

namespace llavamini {

inline constexpr int kFakeVocabulary = 24;
inline constexpr TokenId kFakeEndOfTurn = 22;
inline constexpr TokenId kFakeEndOfText = 23;
inline std::vector<TokenId> FakeEndTokens() { return {kFakeEndOfTurn, kFakeEndOfText}; }

class FakeTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(std::string_view text) const override {
    return std::vector<TokenId>(text.size(), 0);
  }
  std::optional<TokenId> SpecialId(std::string_view) const override { return std::nullopt; }
  std::string_view Bytes(TokenId id) const override { return kBytes.at(id); }
  bool IsSpecial(TokenId id) const override { return id >= kFakeEndOfTurn; }

 private:
  // é is C3 A9, € is E2 82 AC, an emoji F0 9F 98 80.
  static constexpr std::array<std::string_view, kFakeVocabulary> kBytes = {
      "a",    "b",        "c",        "ab",           "ba",       "abc",  " ",        "\n",
      "\xC3", "\xA9",     "\xC3\xA9", "\xE2",         "\xE2\x82", "\xAC", "\x82\xAC", "\xF0\x9F",
      "\x98", "\x98\x80", "\x80",     "\xE2\x82\xAC", "cab",      "\xFF", "",         ""};
};

}  // namespace llavamini
