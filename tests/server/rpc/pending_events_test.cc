#include "server/rpc/pending_events.h"

#include <gtest/gtest.h>

#include <vector>

namespace llavamini {
namespace {

class PendingEventsTest : public testing::Test {
 protected:
  PendingEvents Make(bool include_progress = true) {
    v1::Started started;
    started.set_request_id("r");
    return {started, include_progress, tokenizer_.get()};
  }
  static Delta TextDelta(const std::string& text, TokenId id) {
    Delta delta;
    delta.text = text;
    delta.token_ids = {id};
    return delta;
  }
  static std::vector<v1::ChatEvent> TakeAll(PendingEvents& pending) {
    std::vector<v1::ChatEvent> events;
    v1::ChatEvent event;
    while (pending.TakeNext(&event)) events.push_back(event);
    return events;
  }

  std::unique_ptr<const Tokenizer> tokenizer_ =
      *Tokenizer::Load(LLAVAMINI_SOURCE_DIR "/demo/checkpoint/tokenizer.json", 1000);
};

TEST_F(PendingEventsTest, HasNothingBeforeTheFirstEvent) {
  PendingEvents pending = Make();
  EXPECT_TRUE(TakeAll(pending).empty());
}

TEST_F(PendingEventsTest, JoinsDeltasThatWait) {
  PendingEvents pending = Make();
  pending.AddDelta(TextDelta("a", 1));
  pending.AddDelta(TextDelta("b", 2));
  std::vector<v1::ChatEvent> events = TakeAll(pending);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_TRUE(events[0].has_started());
  EXPECT_EQ(events[1].delta().text(), "ab");
  EXPECT_EQ(events[1].delta().token_ids_size(), 2);
  pending.AddDelta(TextDelta("c", 3));
  events = TakeAll(pending);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].delta().text(), "c");
  EXPECT_EQ(events[0].delta().token_ids(0), 3u);
}

TEST_F(PendingEventsTest, PutsFinishedAfterWhatWaits) {
  PendingEvents pending = Make();
  pending.AddProgress(Stage::kQueued, 0, 0);
  pending.AddDelta(TextDelta("a", 1));
  Outcome outcome;
  outcome.reason = FinishReason::kLength;
  pending.AddFinished(outcome);
  const std::vector<v1::ChatEvent> events = TakeAll(pending);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_TRUE(events[0].has_started());
  EXPECT_TRUE(events[1].has_progress());
  EXPECT_TRUE(events[2].has_delta());
  EXPECT_EQ(events[3].finished().finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(PendingEventsTest, KeepsTheNewestProgressOfEachStage) {
  PendingEvents pending = Make();
  pending.AddProgress(Stage::kDecodingMedia, 1, 3);
  pending.AddProgress(Stage::kDecodingMedia, 2, 3);
  pending.AddProgress(Stage::kQueued, 0, 0);
  pending.AddProgress(Stage::kQueued, 0, 0);
  const std::vector<v1::ChatEvent> events = TakeAll(pending);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].progress().done(), 2u);
  EXPECT_EQ(events[2].progress().stage(), v1::STAGE_QUEUED);
  pending.AddProgress(Stage::kQueued, 0, 0);  // said before
  EXPECT_TRUE(TakeAll(pending).empty());
}

TEST_F(PendingEventsTest, LeavesLateProgressOut) {
  PendingEvents pending = Make();
  pending.AddProgress(Stage::kEncodingVision, 0, 1);
  pending.AddProgress(Stage::kQueued, 0, 0);
  EXPECT_EQ(TakeAll(pending).size(), 2u);
  pending.AddDelta(TextDelta("a", 1));
  pending.AddProgress(Stage::kPrefill, 1, 1);
  const std::vector<v1::ChatEvent> events = TakeAll(pending);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].has_delta());
}

TEST_F(PendingEventsTest, StartsWithoutProgressWhenNoneIsWanted) {
  PendingEvents pending = Make(/*include_progress=*/false);
  pending.AddProgress(Stage::kQueued, 0, 0);
  const std::vector<v1::ChatEvent> events = TakeAll(pending);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].has_started());
}

TEST_F(PendingEventsTest, CountsWhatWaitsAndForgetsItWhenCleared) {
  PendingEvents pending = Make();
  pending.AddDelta(TextDelta(std::string(1000, 'x'), 1));
  EXPECT_GE(pending.bytes(), 1000);
  pending.Clear();
  EXPECT_EQ(pending.bytes(), 0);
  const std::vector<v1::ChatEvent> events = TakeAll(pending);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].has_started());
}

TEST_F(PendingEventsTest, GivesTheBytesOfTokens) {
  PendingEvents pending = Make();
  const std::vector<TokenId> ids = tokenizer_->Encode(" red");
  Delta delta = TextDelta(" red", ids[0]);
  delta.logprobs = {{{ids[0], -0.25f}, {{999, -3.0f}}}};
  pending.AddDelta(delta);
  const v1::TokenLogprob token = TakeAll(pending)[1].delta().logprobs(0);
  EXPECT_EQ(token.token(), tokenizer_->Bytes(ids[0]));
  EXPECT_EQ(token.logprob(), -0.25f);
  EXPECT_EQ(token.top_logprobs(0).token(), "");  // a special token
}

}  // namespace
}  // namespace llavamini
