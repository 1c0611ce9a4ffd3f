#include "client/output.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini::client {
namespace {

using testing::HasSubstr;

TEST(Printable, LeavesTextAndReplacesControlCharacters) {
  EXPECT_EQ(Printable("a\tb\nä 🐈"), "a\tb\nä 🐈");
  EXPECT_EQ(Printable(std::string_view("\x1b[31m\0\b", 7)), "?[31m??");
}

TEST(LogprobLine, ShowsBytesThatAreNoTextAndTheAlternatives) {
  v1::TokenLogprob token;
  token.set_token("\xf0\x9f");
  token.set_logprob(-1.25f);
  v1::TokenLogprob* other = token.add_top_logprobs();
  other->set_token("\n");
  other->set_logprob(-2.0f);
  EXPECT_EQ(LogprobLine(token), "  -1.2500  \"\\xf0\\x9f\"  -2.0000 \"\\n\"");
}

TEST(TimingsText, SaysHowTheAnswerEnded) {
  v1::Finished finished;
  for (const auto& [reason, text] :
       {std::pair{v1::FINISH_REASON_STOP, "ended by the model"},
        std::pair{v1::FINISH_REASON_STOP_STRING, "ended by a stop string"},
        std::pair{v1::FINISH_REASON_LENGTH, "ended by max tokens or a full context"}}) {
    finished.set_finish_reason(reason);
    EXPECT_THAT(TimingsText(finished), HasSubstr(text));
    EXPECT_THAT(TimingsText(finished), testing::Not(HasSubstr("tokens/s")));
  }
}

}  // namespace
}  // namespace llavamini::client
