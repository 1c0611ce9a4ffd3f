#include "client/arguments.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<Arguments> Parse(const std::vector<std::string>& words) {
  return ParseArguments(words, "default:1");
}

TEST(Arguments, ReadAQuestionWithAllItsOptions) {
  const auto parsed = Parse({"chat",
                             "--image",
                             "cat.jpg",
                             "--image=dog.png",
                             "--detail",
                             "high",
                             "--system",
                             "Be brief.",
                             "--max-tokens=7",
                             "--temperature",
                             "0.5",
                             "--top-p",
                             "0.9",
                             "--top-k",
                             "3",
                             "--min-p",
                             "0.1",
                             "--seed",
                             "18446744073709551615",
                             "--stop",
                             "a",
                             "--stop=b",
                             "--logprobs",
                             "--timings",
                             "--json",
                             "--timeout",
                             "1.5",
                             "--model",
                             "m",
                             "--request-id",
                             "r",
                             "--address",
                             "host:2",
                             "What is this?"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->command, Command::kChat);
  EXPECT_THAT(parsed->images, ElementsAre("cat.jpg", "dog.png"));
  EXPECT_EQ(parsed->detail, v1::DETAIL_HIGH);
  EXPECT_EQ(parsed->system, "Be brief.");
  EXPECT_EQ(parsed->params.max_tokens(), 7u);
  EXPECT_EQ(parsed->params.temperature(), 0.5f);
  EXPECT_EQ(parsed->params.top_p(), 0.9f);
  EXPECT_EQ(parsed->params.top_k(), 3u);
  EXPECT_EQ(parsed->params.min_p(), 0.1f);
  EXPECT_EQ(parsed->params.seed(), 18446744073709551615u);
  EXPECT_THAT(parsed->params.stop(), ElementsAre("a", "b"));
  EXPECT_TRUE(parsed->params.logprobs());
  EXPECT_TRUE(parsed->timings);
  EXPECT_TRUE(parsed->json);
  EXPECT_EQ(parsed->timeout, absl::Milliseconds(1500));
  EXPECT_EQ(parsed->model, "m");
  EXPECT_EQ(parsed->request_id, "r");
  EXPECT_EQ(parsed->address, "host:2");
  EXPECT_EQ(parsed->question, "What is this?");
}

TEST(Arguments, LeaveUnsetWhatIsNotGiven) {
  const auto parsed = Parse({"chat"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->address, "default:1");
  EXPECT_FALSE(parsed->params.has_temperature());
  EXPECT_FALSE(parsed->params.has_max_tokens());
  EXPECT_FALSE(parsed->params.has_seed());
  EXPECT_EQ(parsed->question, std::nullopt);
  EXPECT_EQ(parsed->timeout, std::nullopt);
}

TEST(Arguments, TakeFramesUpToTheQuestion) {
  const auto parsed = Parse({"chat", "--frames", "1.png", "2.JPG", "3.webp", "What moves?"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->frames, ElementsAre("1.png", "2.JPG", "3.webp"));
  EXPECT_EQ(parsed->question, "What moves?");
}

TEST(Arguments, TakeOptionsBeforeTheCommandAndTextAfterADoubleDash) {
  const auto parsed = Parse({"--address", "host:2", "chat", "--", "--what"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->address, "host:2");
  EXPECT_EQ(parsed->question, "--what");
}

TEST(Arguments, PassOnNumbersThatOnlyTheServerCanJudge) {
  const auto parsed = Parse({"chat", "--temperature", "nan", "--top-p", "-3", "x"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(std::isnan(parsed->params.temperature()));
  EXPECT_EQ(parsed->params.top_p(), -3.0f);
}

TEST(Arguments, ShowHelpWhateverElseIsGiven) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"help"},
                                                {"--help"},
                                                {"-h"},
                                                {"models", "--image", "a", "--help"}}) {
    const auto parsed = Parse(words);
    ASSERT_TRUE(parsed.ok()) << absl::StrJoin(words, " ");
    EXPECT_EQ(parsed->command, Command::kHelp);
  }
}

TEST(Arguments, RefuseAWrongCommandLineAndNameTheWord) {
  const struct {
    std::vector<std::string> words;
    const char* named;
  } kCases[] = {
      {{}, "a command is missing"},
      {{"sing"}, "unknown command 'sing'"},
      {{"chat", "--loud"}, "unknown option --loud"},
      {{"chat", "--top-k", "many", "x"}, "--top-k takes N, not 'many'"},
      {{"chat", "--top-k", "-1", "x"}, "--top-k takes N, not '-1'"},
      {{"chat", "--max-tokens", "4294967296", "x"}, "--max-tokens takes N"},
      {{"chat", "--seed", "18446744073709551616", "x"}, "--seed takes N"},
      {{"chat", "--temperature", "warm"}, "--temperature takes T, not 'warm'"},
      {{"chat", "--detail", "medium"}, "--detail takes low|high, not 'medium'"},
      {{"chat", "--image"}, "--image needs FILE"},
      {{"chat", "--image="}, "--image takes FILE, not ''"},
      {{"chat", "--stop="}, "--stop takes TEXT"},
      {{"chat", "--timeout", "0"}, "--timeout takes SECONDS, not '0'"},
      {{"chat", "--timeout", "nan"}, "--timeout takes SECONDS, not 'nan'"},
      {{"chat", "--json=yes"}, "--json takes no value"},
      {{"chat", "What", "now"}, "unexpected word 'now'"},
      {{"models", "all"}, "unexpected word 'all'"},
      {{"models", "--image", "a.png"}, "--image is not of this command"},
      {{"--timings", "count", "x"}, "--timings is not of this command"},
      {{"count"}, "count needs a question"},
  };
  for (const auto& each : kCases) {
    const auto parsed = Parse(each.words);
    ASSERT_FALSE(parsed.ok()) << absl::StrJoin(each.words, " ");
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(each.named));
  }
}

TEST(Help, NamesEveryCommandAndExitCode) {
  const std::string help = HelpText();
  for (const char* word : {"chat", "count", "models", "info", "health", "--address", "--image",
                           "--frames", "--stop", "64", "65", "66", "69", "70", "75", "130"}) {
    EXPECT_THAT(help, HasSubstr(word));
  }
}

}  // namespace
}  // namespace llavamini::client
