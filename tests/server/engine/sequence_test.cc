#include "server/engine/sequence.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/fake_model.h"
#include "tests/server/engine/fake_tokenizer.h"

namespace llavamini {
namespace {

// What a sink would hear of these tokens, until the answer ends.
struct Heard {
  std::string text;
  std::vector<TokenId> ids;
  std::vector<TokenId> logprob_ids;
  std::vector<std::string> pieces;
  std::optional<FinishReason> finished;
  int64_t completion_tokens = 0;
};

Heard Hear(const Request& request, const std::vector<TokenId>& tokens) {
  Sequence sequence(1, std::make_unique<Request>(request), absl::UnixEpoch(),
                    /*tokens_per_image=*/1);
  Heard heard;
  for (const TokenId id : tokens) {
    Appended appended =
        Append(sequence, SampledToken{{id, -1.0F}, {}}, FakeTokenizer(), FakeEndTokens());
    heard.text += appended.delta.text;
    heard.pieces.push_back(appended.delta.text);
    for (const TokenId new_id : appended.delta.token_ids) heard.ids.push_back(new_id);
    for (const SampledToken& sampled : appended.delta.logprobs) {
      heard.logprob_ids.push_back(sampled.token.id);
    }
    heard.finished = appended.finished;
    if (heard.finished) break;
  }
  heard.completion_tokens = sequence.usage.completion_tokens;
  return heard;
}

constexpr TokenId kA = 0, kB = 1, kC = 2, kAb = 3, kEuroStart = 12, kEuroEnd = 13;

struct Case {
  std::string name;
  std::vector<TokenId> tokens;
  std::vector<std::string> stop;
  int64_t max_tokens;
  bool ignore_eos;
  std::string text;
  std::optional<FinishReason> finished;
  size_t ids;
};

class AnswersEnd : public testing::TestWithParam<Case> {};

TEST_P(AnswersEnd, AsTheyShould) {
  const Case& param = GetParam();
  Request request;
  request.prompt = {1};
  request.max_tokens = param.max_tokens;
  request.stop = param.stop;
  request.ignore_eos = param.ignore_eos;
  request.sampling.logprobs = true;
  const Heard heard = Hear(request, param.tokens);
  EXPECT_EQ(heard.text, param.text);
  EXPECT_EQ(heard.finished, param.finished);
  EXPECT_EQ(heard.ids,
            std::vector<TokenId>(param.tokens.begin(), param.tokens.begin() + param.ids));
  EXPECT_EQ(heard.logprob_ids, heard.ids);
  EXPECT_EQ(heard.completion_tokens, static_cast<int64_t>(param.tokens.size()));
}

const Case kCases[] = {
    {"GoesOn", {kA, kB}, {}, 9, false, "ab", std::nullopt, 2},
    {"FullLength", {kA, kB}, {}, 2, false, "ab", FinishReason::kLength, 2},
    {"EndTokenIsNoTextAndNoId", {kA, kFakeEndOfText}, {}, 9, false, "a", FinishReason::kStop, 1},
    {"EndTokenAtOnce", {kFakeEndOfTurn}, {}, 9, false, "", FinishReason::kStop, 0},
    {"EndTokenAtFullLength", {kA, kFakeEndOfTurn}, {}, 2, false, "a", FinishReason::kStop, 1},
    {"IgnoredEndTokenIsAnIdWithoutText",
     {kA, kFakeEndOfTurn, kB},
     {},
     3,
     true,
     "ab",
     FinishReason::kLength,
     3},
    {"StopStringInOneToken", {kC, kAb}, {"b"}, 9, false, "ca", FinishReason::kStopString, 2},
    {"StopStringOverTokens",
     {kC, kA, kB, kC},
     {"abc"},
     9,
     false,
     "c",
     FinishReason::kStopString,
     4},
    {"StopStringAtFullLength", {kA, kB}, {"b"}, 2, false, "a", FinishReason::kStopString, 2},
    {"StartOfAStopStringIsGivenAtTheEnd",
     {kC, kAb},
     {"abc"},
     2,
     false,
     "cab",
     FinishReason::kLength,
     2},
    {"StartOfAStopStringIsGivenAtTheEndToken",
     {kAb, kFakeEndOfTurn},
     {"abc"},
     9,
     false,
     "ab",
     FinishReason::kStop,
     1},
    {"StartOfAStopStringIsHeldBack", {kC, kAb}, {"abc"}, 9, false, "c", std::nullopt, 2},
    {"SplitCharacterIsOneCharacter",
     {kEuroStart, kEuroEnd},
     {},
     2,
     false,
     "€",
     FinishReason::kLength,
     2},
    {"IncompleteCharacterIsReplacedAtTheEnd",
     {kA, kEuroStart},
     {},
     2,
     false,
     "a\xEF\xBF\xBD",
     FinishReason::kLength,
     2},
    {"ReplacedCharacterMayCompleteAStopString",
     {kA, kEuroStart},
     {"\xEF\xBF\xBD"},
     2,
     false,
     "a",
     FinishReason::kStopString,
     2},
};

INSTANTIATE_TEST_SUITE_P(Sequence, AnswersEnd, testing::ValuesIn(kCases),
                         [](const auto& story) { return story.param.name; });

TEST(Sequence, HoldsAHalfCharacterBackButNotItsTokens) {
  Request request;
  request.prompt = {1};
  request.max_tokens = 9;
  const Heard heard = Hear(request, {kA, kEuroStart, kEuroEnd});
  EXPECT_THAT(heard.pieces, testing::ElementsAre("a", "", "€"));
  EXPECT_THAT(heard.ids, testing::ElementsAre(kA, kEuroStart, kEuroEnd));
}

TEST(Sequence, GivesNoLogprobsUnlessAskedFor) {
  Request request;
  request.prompt = {1};
  request.max_tokens = 9;
  EXPECT_THAT(Hear(request, {kA}).logprob_ids, testing::IsEmpty());
}

TEST(Sequence, CountsVisionTokensAndKnownImages) {
  auto request = std::make_unique<Request>();
  request->prompt = {1, kImagePlaceholder, 2};
  request->images.resize(3);
  request->images[1].encoded = std::make_shared<FakeEncodedImage>(0, 1, MakeCensus());
  const Sequence sequence(1, std::move(request), absl::UnixEpoch(), /*tokens_per_image=*/4);
  EXPECT_EQ(sequence.usage.prompt_tokens, 2 + 3 * 4);
  EXPECT_EQ(sequence.usage.vision_tokens, 12);
  EXPECT_EQ(sequence.usage.images, 3);
  EXPECT_EQ(sequence.usage.cached_images, 1);
  EXPECT_EQ(sequence.images_encoded, 1);
  EXPECT_EQ(sequence.images_left(), 3);
}

TEST(Sequence, FeedsTheTokenBeforeAfterAllRowsWritten) {
  auto request = std::make_unique<Request>();
  request->prompt = {1, 2, 3};
  request->max_tokens = 9;
  Sequence sequence(1, std::move(request), absl::UnixEpoch(), 1);
  for (const TokenId id : {kA, kB}) {
    Append(sequence, SampledToken{{id, 0}, {}}, FakeTokenizer(), FakeEndTokens());
  }
  const DecodeRow row = sequence.RowToDecode({.request = 1, .place = 7, .token_index = 3});
  EXPECT_EQ(row.place, 7);
  EXPECT_EQ(row.position, 5);  // three of the prompt, two of the answer: token 2 is in flight
  EXPECT_EQ(row.token_index, 3);
  EXPECT_THAT(row.answer, testing::ElementsAre(kA, kB));
}

}  // namespace
}  // namespace llavamini
