#include "model/text/utf8_stream.h"

#include "gtest/gtest.h"

namespace llavamini {
namespace {

struct Case {
  std::string bytes;
  std::string text;  // bytes.decode(errors="replace") of Python
};

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {"", ""},
      {"plain", "plain"},
      {std::string("a\0b", 3), std::string("a\0b", 3)},
      {"caf\u00e9 \u4e2d\u6587 \U0001f600 \U0010ffff",
       "caf\u00e9 \u4e2d\u6587 \U0001f600 \U0010ffff"},
      {"\x80", "\uFFFD"},
      {"a\xFFz", "a\uFFFDz"},
      {"\xC0\xAF", "\uFFFD\uFFFD"},
      {"\xC1\x81x", "\uFFFD\uFFFDx"},
      {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xE0\x9F\xBF", "\uFFFD\uFFFD\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF0\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xF5\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xE4\xB8", "\uFFFD"},
      {"\xE4\xB8z", "\uFFFDz"},
      {"\xF0\x9F\x98", "\uFFFD"},
      {"\xF0\x9F\x98\xE4\xB8\xAD", "\uFFFD\u4e2d"},
      {"\xF0\x9F\xF0\x9F\x98\x80", "\uFFFD\U0001f600"},
      {"\xC3\xC3\xA9", "\uFFFD\u00e9"},
      {"\xF0", "\uFFFD"},
  };
  return cases;
}

TEST(Utf8Stream, DecodesAsPythonDoesWhereverTheBytesAreCut) {
  for (const Case& each : Cases()) {
    for (size_t step = 1; step <= each.bytes.size() + 1; ++step) {
      Utf8Stream stream;
      std::string text;
      for (size_t i = 0; i < each.bytes.size(); i += step) {
        text += stream.Push(std::string_view(each.bytes).substr(i, step));
      }
      EXPECT_EQ(text + stream.Flush(), each.text) << "in steps of " << step;
      EXPECT_EQ(stream.Flush(), "");
    }
  }
}

TEST(Utf8Stream, HoldsBackAnIncompleteCharacterOnly) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("ab\xF0\x9F"), "ab");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80z"), "\U0001f600z");
  EXPECT_EQ(stream.Flush(), "");
}

TEST(Utf8Stream, IsAsNewAfterFlush) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("\xE4\xB8"), "");
  EXPECT_EQ(stream.Flush(), "\uFFFD");
  EXPECT_EQ(stream.Push("\xAD"), "\uFFFD");
  EXPECT_EQ(stream.Push("ok"), "ok");
}

}  // namespace
}  // namespace llavamini
