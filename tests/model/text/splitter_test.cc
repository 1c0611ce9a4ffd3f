#include "model/text/splitter.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/split_pattern.h"
#include "tests/model/text/golden.h"

namespace llavamini {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

Splitter MakeSplitter(const std::vector<std::string>& patterns) {
  auto splitter = Splitter::Create(patterns);
  EXPECT_TRUE(splitter.ok()) << splitter.status();
  return *std::move(splitter);
}

std::string Utf8(uint32_t c) {
  const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

std::string FillIn(std::string_view probe, const std::string& character) {
  std::string text;
  while (!probe.empty()) {
    if (probe.substr(0, 3) == "{0}") {
      text += character;
      probe.remove_prefix(3);
    } else {
      text += probe.front();
      probe.remove_prefix(1);
    }
  }
  return text;
}

size_t Characters(std::string_view piece) {
  return std::count_if(piece.begin(), piece.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

TEST(Splitter, SplitsAroundEveryUnicodeCharacterAsHuggingFaceDoes) {
  const json golden = ReadGolden("unicode_splits.json");
  const std::string probe = golden["probe"];
  const auto kinds = golden["piece_lengths"].get<std::vector<std::vector<size_t>>>();
  const Splitter splitter = MakeSplitter({kLlama3Pattern});
  int seen = 0;
  for (const auto& range : golden["ranges"].get<std::vector<std::array<uint32_t, 3>>>()) {
    for (uint32_t c = range[0]; c <= range[1]; ++c, ++seen) {
      const std::string text = FillIn(probe, Utf8(c));
      std::vector<size_t> lengths;
      for (const std::string_view piece : splitter.Split(text))
        lengths.push_back(Characters(piece));
      ASSERT_EQ(lengths, kinds[range[2]]) << "U+" << std::hex << c;
    }
  }
  EXPECT_EQ(seen, 0x110000 - 0x800);
}

TEST(Splitter, KeepsEveryByteInOrder) {
  const std::string text = "One  two\xFF\xE4\xB8\xADthree\xF0\x9F\x98!\n\n 123456 it's\xC3";
  const std::vector<std::string_view> pieces = MakeSplitter({kLlama3Pattern}).Split(text);
  std::string joined;
  for (const std::string_view piece : pieces) joined += piece;
  EXPECT_EQ(joined, text);
}

TEST(Splitter, MakesInvalidBytesPiecesOfTheirOwn) {
  const Splitter splitter = MakeSplitter({kLlama3Pattern});
  EXPECT_THAT(splitter.Split("ab\xFF\xFE"
                             "cd"),
              ElementsAre("ab", "\xFF", "\xFE", "cd"));
  EXPECT_THAT(splitter.Split("  \xE4\xB8"), ElementsAre("  ", "\xE4", "\xB8"));
  EXPECT_THAT(splitter.Split(""), ElementsAre());
}

TEST(Splitter, AppliesPatternsOneAfterTheOther) {
  const Splitter splitter = MakeSplitter({R"(\p{N}+)", R"(\p{L})"});
  EXPECT_THAT(splitter.Split("ab12c"), ElementsAre("a", "b", "12", "c"));
}

TEST(Splitter, TakesTheDigitsOfEveryScriptForDigits) {
  EXPECT_THAT(MakeSplitter({R"(\d+)"}).Split("a12\u0663\u0967b"),
              ElementsAre("a", "12\u0663\u0967", "b"));
}

TEST(Splitter, WithoutPatternsLeavesTextWhole) {
  EXPECT_THAT(MakeSplitter({}).Split("a b"), ElementsAre("a b"));
}

TEST(Splitter, TakesAMebibyteOfOneKind) {
  const Splitter splitter = MakeSplitter({kLlama3Pattern});
  for (const std::string_view unit :
       {" ", "\n", "a", "1", "!", " \n", "\u3000", "\U0001f600", "'"}) {
    const std::string text = Repeated(unit, (1 << 20) / unit.size()) + "x";
    size_t bytes = 0;
    for (const std::string_view piece : splitter.Split(text)) bytes += piece.size();
    EXPECT_EQ(bytes, text.size());
  }
  EXPECT_THAT(splitter.Split(Repeated(" ", 1 << 20) + "x"),
              ElementsAre(Repeated(" ", (1 << 20) - 1), " x"));
}

TEST(Splitter, LeavesTextWholeWhenAPatternNeedsTooManySteps) {
  const Splitter splitter = MakeSplitter({R"((?:(?:a|a|b)+)+(?=c|d))"});
  const std::string text = Repeated("a", 3000);
  EXPECT_THAT(splitter.Split(text), ElementsAre(text));
}

TEST(SplitPattern, TakesThePatternsOfKnownModels) {
  for (
      const std::string_view pattern : {
          kLlama3Pattern,
          R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
          R"([^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
          R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?)",
      }) {
    EXPECT_TRUE(TranslateSplitPattern(pattern).ok()) << pattern;
    EXPECT_TRUE(Splitter::Create({std::string(pattern)}).ok()) << pattern;
  }
}

struct BadPattern {
  std::string pattern, error;
};

TEST(SplitPattern, RefusesWhatOtherEnginesReadDifferently) {
  const std::vector<BadPattern> cases = {
      {"", "must have 1 to 4096 bytes"},
      {std::string(5000, 'a'), "must have 1 to 4096 bytes"},
      {"a\\", "a backslash at its end"},
      {R"(\h+)", "an escape other than"},
      {R"(\Kx)", "an escape other than"},
      {R"((a)\1)", "an escape other than"},
      {R"(\p{^L})", "\\p without {NAME}"},
      {R"(\pL)", "\\p without {NAME}"},
      {R"(\p{)", "\\p without {NAME}"},
      {"[a[b]]", "a class inside a class"},
      {"[a-z&&b]", "an intersection of classes"},
      {"[]a]", "a class that begins with ]"},
      {"[^]a]", "a class that begins with ]"},
      {"(*UTF)a", "(*"},
      {"(?<=a)b", "a group other than"},
      {"(?R)", "a group other than"},
      {"a.b", ". or ^ or $"},
      {"^a", ". or ^ or $"},
      {"a{,3}", "{ without a number"},
      {"a{1,3}+", "}+ or }?"},
      {"(a", "is not a valid pattern"},
      {"[a", "is not a valid pattern"},
      {"a{3,1}", "is not a valid pattern"},
      {R"(\p{NoSuchProperty})", "is not a valid pattern"},
      {std::string("\xFF"), "is not a valid pattern"},
      {std::string(600, '(') + "a" + std::string(600, ')'), "is not a valid pattern"},
      {R"(\s*)", "must not match the empty text"},
  };
  for (const BadPattern& bad : cases) {
    const auto splitter = Splitter::Create({bad.pattern});
    ASSERT_FALSE(splitter.ok()) << bad.pattern;
    EXPECT_THAT(splitter.status().message(), HasSubstr(bad.error)) << bad.pattern;
    EXPECT_THAT(splitter.status().message(), HasSubstr("tokenizer.json: pre_tokenizer: "))
        << bad.pattern;
  }
}

}  // namespace
}  // namespace llavamini
