#include "server/engine/scheduler.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini {
namespace {

constexpr SchedulerLimits kRoomy{
    .max_running = 8, .max_waiting = 16, .max_step_rows = 1000, .pages = 100};

SchedulerLimits With(int64_t SchedulerLimits::*limit, int64_t value) {
  SchedulerLimits limits = kRoomy;
  limits.*limit = value;
  return limits;
}

SchedulerLimits With(int32_t SchedulerLimits::*limit, int32_t value) {
  SchedulerLimits limits = kRoomy;
  limits.*limit = value;
  return limits;
}

// 10 rows and 6 tokens are one page.
RequestFacts Text(RequestNumber number, int64_t prompt_rows = 10, int64_t max_tokens = 6) {
  return {.number = number, .prompt_rows = prompt_rows, .max_tokens = max_tokens};
}

RequestFacts Images(RequestNumber number) {
  RequestFacts facts = Text(number);
  facts.has_images = true;
  return facts;
}

RequestFacts Penalised(RequestNumber number) {
  RequestFacts facts = Text(number);
  facts.samples_ahead = false;
  return facts;
}

RequestFacts Until(RequestFacts facts, int64_t second) {
  facts.deadline = absl::FromUnixSeconds(second);
  return facts;
}

// "prefill 2@0 decode 3#1": at place 0; its token 1.
std::string Describe(const Step& step) {
  std::string text;
  for (const Step::Prompt& prompt : step.prompts) {
    absl::StrAppend(&text, " prefill ", prompt.request, "@", prompt.place);
  }
  for (const Step::Sequence& sequence : step.sequences) {
    absl::StrAppend(&text, " decode ", sequence.request, "#", sequence.token_index);
  }
  return text.empty() ? "nothing" : text.substr(1);
}

// What happens before a step, and the step.
struct Moment {
  std::vector<RequestFacts> arrive = {};
  std::vector<RequestNumber> ready = {}, collected = {}, finish = {};
  std::string plan;
};

struct Story {
  std::string name;
  SchedulerLimits limits;
  std::vector<Moment> moments;
};

class SchedulerTells : public testing::TestWithParam<Story> {};

TEST_P(SchedulerTells, TheStory) {
  Scheduler scheduler(GetParam().limits);
  int64_t step = 0;
  for (const Moment& moment : GetParam().moments) {
    for (const RequestNumber number : moment.collected) scheduler.Collected(number);
    for (const RequestNumber number : moment.finish) scheduler.Finish(number);
    for (const RequestFacts& facts : moment.arrive) EXPECT_TRUE(scheduler.Arrive(facts).ok());
    for (const RequestNumber number : moment.ready) scheduler.SetReady(number);
    const int64_t sequences = scheduler.sequences_to_step();
    const Step planned = scheduler.Plan();
    EXPECT_EQ(Describe(planned), moment.plan) << "in step " << step;
    EXPECT_EQ(static_cast<int64_t>(planned.sequences.size()), sequences) << "in step " << step;
    ++step;
  }
}

const Story kStories[] = {
    {"AnIdleSchedulerHasNothingToDo", kRoomy, {{.plan = "nothing"}}},
    {"ARequestIsPrefilledAtOnceAndDecodedBeforeItsTokensAreKnown",
     kRoomy,
     {{.arrive = {Text(1)}, .plan = "prefill 1@0"},
      {.plan = "decode 1#1"},
      {.collected = {1}, .plan = "decode 1#2"},
      {.collected = {1}, .finish = {1}, .plan = "nothing"}}},
    {"NoTokenBeyondTheLastIsLaunched",
     kRoomy,
     {{.arrive = {Text(1, 10, 3), Text(2, 10, 1)}, .plan = "prefill 1@0 prefill 2@1"},
      {.plan = "decode 1#1"},
      {.collected = {1, 2}, .finish = {2}, .plan = "decode 1#2"},
      {.collected = {1}, .plan = "nothing"}}},
    {"ASequenceThatNeedsItsLastTokenWaitsForIt",
     kRoomy,
     {{.arrive = {Penalised(1), Text(2)}, .plan = "prefill 1@0 prefill 2@1"},
      {.plan = "decode 2#1"},
      {.collected = {1, 2}, .plan = "decode 1#1 decode 2#2"},
      {.collected = {2}, .plan = "decode 2#3"}}},
    {"PromptsRideAlongWithTheRunningBatch",
     kRoomy,
     {{.arrive = {Text(1)}, .plan = "prefill 1@0"},
      {.arrive = {Text(2)}, .plan = "prefill 2@1 decode 1#1"},
      {.collected = {1}, .plan = "decode 1#2 decode 2#1"}}},
    {"ARequestWaitsForItsImagesAndMayBeOvertakenMeanwhile",
     kRoomy,
     {{.arrive = {Images(1), Images(2), Text(3)}, .plan = "prefill 3@0"},
      {.plan = "decode 3#1"},
      {.ready = {2}, .collected = {3}, .plan = "prefill 2@1 decode 3#2"},
      {.ready = {1}, .collected = {3, 2}, .plan = "prefill 1@2 decode 2#1 decode 3#3"}}},
    {"PlacesAreLimitedAndFreeAtOnce",
     With(&SchedulerLimits::max_running, 2),
     {{.arrive = {Text(1), Text(2), Text(3)}, .plan = "prefill 1@0 prefill 2@1"},
      {.plan = "decode 1#1 decode 2#1"},
      {.finish = {2}, .plan = "prefill 3@1 decode 1#2"}}},
    {"RowsOfAStepAreLimitedButItsFirstPromptIsTakenHoweverLong",
     With(&SchedulerLimits::max_step_rows, int64_t{40}),
     {{.arrive = {Text(1, 20), Text(2, 20), Text(3, 1), Text(4, 90), Text(5, 37), Text(6, 1)},
       .plan = "prefill 1@0 prefill 2@1"},
      {.plan = "prefill 3@2 decode 1#1 decode 2#1"},
      {.plan = "prefill 4@3 decode 1#2 decode 2#2 decode 3#1"},
      {.finish = {1, 2}, .plan = "prefill 5@1 prefill 6@0 decode 3#2 decode 4#1"}}},
    {"RunningSequencesCountAsRows",
     With(&SchedulerLimits::max_step_rows, int64_t{40}),
     {{.arrive = {Text(1)}, .plan = "prefill 1@0"},
      {.arrive = {Text(2, 20), Text(3, 20)}, .plan = "prefill 2@1 decode 1#1"},
      {.plan = "prefill 3@2 decode 1#2 decode 2#1"}}},
    {"PagesForTheWorstCaseAreReservedAndNobodyPassesTheOldestThatWaitsForThem",
     With(&SchedulerLimits::pages, 4),
     {{.arrive = {Text(1, 10, 22), Text(2, 10, 39), Text(3)}, .plan = "prefill 1@0"},
      {.plan = "decode 1#1"},
      {.finish = {1}, .plan = "prefill 2@0"},
      {.plan = "decode 2#1"},
      {.finish = {2}, .plan = "prefill 3@0"}}},
    {"AWaitingRequestMayLeave",
     With(&SchedulerLimits::pages, 4),
     {{.arrive = {Text(1), Text(2, 64 - 6), Text(3)}, .plan = "prefill 1@0"},
      {.finish = {2}, .plan = "prefill 3@1 decode 1#1"}}},
};

INSTANTIATE_TEST_SUITE_P(Stories, SchedulerTells, testing::ValuesIn(kStories),
                         [](const auto& story) { return story.param.name; });

TEST(Scheduler, ReservesPagesForPromptAndAnswer) {
  struct Case {
    int64_t prompt_rows, max_tokens, pages;
  };
  for (const auto& [prompt_rows, max_tokens, pages] :
       {Case{1, 1, 1}, Case{10, 6, 1}, Case{10, 7, 2}, Case{16, 16, 2}, Case{10'000, 512, 657}}) {
    EXPECT_EQ(PagesNeeded(prompt_rows, max_tokens), pages);
    SchedulerLimits limits = With(&SchedulerLimits::pages, 1000);
    Scheduler scheduler(limits);
    ASSERT_TRUE(scheduler.Arrive(Text(1, prompt_rows, max_tokens)).ok());
    const Step step = scheduler.Plan();
    EXPECT_EQ(static_cast<int64_t>(step.prompts[0].pages.size()), pages);
    EXPECT_EQ(scheduler.pages().available(), 1000 - pages);
    scheduler.Finish(1);
    EXPECT_EQ(scheduler.pages().available(), 1000);
  }
}

TEST(Scheduler, RefusesWhatCanNeverFitAndForgetsIt) {
  Scheduler scheduler(With(&SchedulerLimits::pages, 2));
  const absl::Status refused = scheduler.Arrive(Text(1, 20, 13));
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("3 pages"));
  EXPECT_EQ(scheduler.waiting(), 0);
  EXPECT_TRUE(scheduler.Arrive(Text(2, 20, 12)).ok());
}

TEST(Scheduler, RefusesMoreThanMaxWaiting) {
  Scheduler scheduler(With(&SchedulerLimits::max_waiting, 2));
  EXPECT_TRUE(scheduler.Arrive(Text(1)).ok());
  EXPECT_EQ(scheduler.room(), 1);
  EXPECT_TRUE(scheduler.Arrive(Text(2)).ok());
  EXPECT_EQ(scheduler.Arrive(Text(3)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scheduler.Plan().prompts.size(), 2u);
  EXPECT_EQ(scheduler.running(), 2);
  EXPECT_TRUE(scheduler.Arrive(Text(4)).ok());
}

TEST(Scheduler, KnowsTheNextDeadlineOfWaitingAndRunning) {
  Scheduler scheduler(With(&SchedulerLimits::max_running, 1));
  EXPECT_EQ(scheduler.NextDeadline(), absl::InfiniteFuture());
  ASSERT_TRUE(scheduler.Arrive(Until(Text(1), 50)).ok());
  ASSERT_TRUE(scheduler.Arrive(Until(Text(2), 70)).ok());
  scheduler.Plan();
  EXPECT_EQ(scheduler.NextDeadline(), absl::FromUnixSeconds(50));
  scheduler.Finish(1);
  EXPECT_EQ(scheduler.NextDeadline(), absl::FromUnixSeconds(70));
}

TEST(Scheduler, SaysWhoIsLateWhereverItIs) {
  Scheduler scheduler(With(&SchedulerLimits::max_running, 1));
  ASSERT_TRUE(scheduler.Arrive(Until(Text(1), 50)).ok());
  ASSERT_TRUE(scheduler.Arrive(Until(Images(2), 70)).ok());
  ASSERT_TRUE(scheduler.Arrive(Text(3)).ok());
  scheduler.Plan();
  EXPECT_THAT(scheduler.Late(absl::FromUnixSeconds(49)), testing::IsEmpty());
  EXPECT_THAT(scheduler.Late(absl::FromUnixSeconds(50)), testing::ElementsAre(1));
  EXPECT_THAT(scheduler.Late(absl::FromUnixSeconds(70)), testing::ElementsAre(1, 2));
}

TEST(SchedulerDeathTest, EndsTheProcessWhenATokenIsCollectedTwice) {
  Scheduler scheduler(kRoomy);
  ASSERT_TRUE(scheduler.Arrive(Text(1)).ok());
  scheduler.Plan();
  scheduler.Collected(1);
  EXPECT_DEATH(scheduler.Collected(1), "collected once");
}

TEST(SchedulerDeathTest, EndsTheProcessWhenARequestIsFinishedTwice) {
  Scheduler scheduler(kRoomy);
  ASSERT_TRUE(scheduler.Arrive(Text(1)).ok());
  scheduler.Finish(1);
  EXPECT_DEATH(scheduler.Finish(1), "finished once");
}

}  // namespace
}  // namespace llavamini
