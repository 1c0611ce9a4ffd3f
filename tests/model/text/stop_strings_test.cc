#include "model/text/stop_strings.h"

#include <random>

#include "gtest/gtest.h"
#include "tests/model/text/golden.h"

namespace llavamini {
namespace {

struct Case {
  std::vector<std::string> stops;
  std::string text;
  std::string released;  // with Flush() when nothing stopped
  bool stopped;
};

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {{}, "anything", "anything", false},
      {{""}, "anything", "anything", false},
      {{"\n"}, "one\ntwo", "one", true},
      {{"stop"}, "stop", "", true},
      {{"stop"}, "a sto", "a sto", false},
      {{"stop"}, "a ststop b", "a st", true},
      {{"aab"}, "aaab", "a", true},
      {{"abab"}, "abaabab!", "aba", true},
      {{"User:", "###"}, "Hi ### User:", "Hi ", true},
      {{"###", "User:"}, "Hi User: ###", "Hi ", true},
      {{"abcd", "bc"}, "xabcd", "xa", true},
      {{"bc", "abc"}, "xabc", "x", true},
      {{"abc", "bc"}, "xabc", "x", true},
      {{"abcd"}, "abcabcabcd", "abcabc", true},
      {{"abacababx"}, "abacababacababx", "abacab", true},
      {{"\u4e2d"}, "a\u4e2d\u6587", "a", true},
      {{"END", "END"}, "the END", "the ", true},
      {{"ABC"}, "abc", "abc", false},
  };
  return cases;
}

std::string Feed(StopStrings& stops, std::string_view text, size_t step, bool* stopped) {
  std::string released;
  *stopped = false;
  for (size_t i = 0; i < text.size() && !*stopped; i += step) {
    const StopStrings::Result result = stops.Push(text.substr(i, step));
    released += result.text;
    *stopped = result.stopped;
  }
  return *stopped ? released : released + stops.Flush();
}

TEST(StopStrings, EndTheTextAtTheFirstMatchWhateverThePieces) {
  for (const Case& each : Cases()) {
    for (size_t step = 1; step <= each.text.size(); ++step) {
      StopStrings stops(each.stops);
      bool stopped = false;
      EXPECT_EQ(Feed(stops, each.text, step, &stopped), each.released) << each.text;
      EXPECT_EQ(stopped, each.stopped) << each.text << " in steps of " << step;
    }
  }
}

TEST(StopStrings, ReleaseTextAsSoonAsItCannotBeAStop) {
  StopStrings stops({"stop", "\n\n"});
  EXPECT_EQ(stops.Push("go st").text, "go ");
  EXPECT_EQ(stops.Push("ar").text, "star");
  EXPECT_EQ(stops.Push("\n").text, "");
  EXPECT_EQ(stops.Push("x").text, "\nx");
  EXPECT_EQ(stops.Flush(), "");
}

TEST(StopStrings, DropWhatFollowsAMatch) {
  StopStrings stops({"stop"});
  EXPECT_TRUE(stops.Push("a stop b").stopped);
  const StopStrings::Result later = stops.Push("more");
  EXPECT_EQ(later.text, "");
  EXPECT_TRUE(later.stopped);
  EXPECT_EQ(stops.Flush(), "");
}

// The shortest prefix of the text that ends with a stop string, found by trying all.
std::string EndedByTrying(const std::vector<std::string>& stops, const std::string& text,
                          bool* stopped) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (end >= stop.size() && text.compare(end - stop.size(), stop.size(), stop) == 0) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) {
      *stopped = true;
      return text.substr(0, end - longest);
    }
  }
  *stopped = false;
  return text;
}

TEST(StopStrings, AgreeWithTryingEveryEnd) {
  std::mt19937 random(11);
  const auto letters = [&](size_t most) {
    std::string text;
    for (size_t i = 1 + random() % most; i > 0; --i) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::vector<std::string> list = {letters(7), letters(7), letters(7)};
    const std::string text = letters(40);
    bool expected_stop = false, stopped = false;
    const std::string expected = EndedByTrying(list, text, &expected_stop);
    StopStrings stops(list);
    ASSERT_EQ(Feed(stops, text, 1 + random() % 4, &stopped), expected) << text;
    ASSERT_EQ(stopped, expected_stop) << text;
  }
}

TEST(StopStrings, TakeLongRepetitiveStopsAndTexts) {
  StopStrings stops({Repeated("a", 1000) + "b"});
  std::string released;
  for (int i = 0; i < 100'000; ++i) released += stops.Push("a").text;
  EXPECT_EQ(released.size(), 99'000u);
  EXPECT_TRUE(stops.Push("b").stopped);
}

}  // namespace
}  // namespace llavamini
