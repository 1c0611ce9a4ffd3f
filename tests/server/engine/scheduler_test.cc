#include "server/engine/scheduler.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini {
namespace {

constexpr SchedulerLimits kRoomy{.max_running = 8,
                                 .max_waiting = 16,
                                 .max_images_per_step = 8,
                                 .max_images_ahead = 64,
                                 .max_prompt_rows_per_step = 1000,
                                 .pages = 100};

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

RequestFacts Images(RequestNumber number, int64_t images) {
  RequestFacts facts = Text(number);
  facts.images_to_encode = images;
  return facts;
}

RequestFacts Until(RequestFacts facts, int64_t second) {
  facts.deadline = absl::FromUnixSeconds(second);
  return facts;
}

// "encode 1:2 prefill 2 decode 3": the second number is how many images.
std::string Describe(const Step& step) {
  std::string text;
  for (const RequestNumber number : step.expired) absl::StrAppend(&text, " expire ", number);
  for (const Step::Images& images : step.images) {
    absl::StrAppend(&text, " encode ", images.request, ":", images.count);
  }
  for (const Step::Prompt& prompt : step.prompts) {
    absl::StrAppend(&text, " prefill ", prompt.request);
  }
  for (const RequestNumber number : step.sequences) absl::StrAppend(&text, " decode ", number);
  return text.empty() ? "nothing" : text.substr(1);
}

// What happens before a step, and the step. Second i of time is the i-th step.
struct Moment {
  std::vector<RequestFacts> arrive;
  std::vector<RequestNumber> finish;
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
  int64_t second = 0;
  for (const Moment& moment : GetParam().moments) {
    for (const RequestNumber number : moment.finish) scheduler.Finish(number);
    for (const RequestFacts& facts : moment.arrive) EXPECT_TRUE(scheduler.Arrive(facts).ok());
    EXPECT_EQ(Describe(scheduler.Plan(absl::FromUnixSeconds(second))), moment.plan)
        << "in step " << second;
    ++second;
  }
}

const Story kStories[] = {
    {"AnIdleSchedulerHasNothingToDo", kRoomy, {{{}, {}, "nothing"}}},
    {"ARequestIsPrefilledAtOnceAndThenDecoded",
     kRoomy,
     {{{Text(1)}, {}, "prefill 1"},
      {{}, {}, "decode 1"},
      {{}, {}, "decode 1"},
      {{}, {1}, "nothing"}}},
    {"ANewRequestJoinsTheRunningBatchAtTheNextStep",
     kRoomy,
     {{{Text(1)}, {}, "prefill 1"},
      {{Text(2)}, {}, "prefill 2 decode 1"},
      {{}, {}, "decode 1 decode 2"},
      {{}, {1}, "decode 2"}}},
    {"ImagesOfSeveralRequestsAreEncodedTogetherAndPrefilledInTheSameStep",
     kRoomy,
     {{{Images(1, 2), Images(2, 1), Text(3)},
       {},
       "encode 1:2 encode 2:1 prefill 1 prefill 2 prefill 3"}}},
    {"ImagesPerStepAreBoundedAndATextMayPassARequestThatStillEncodes",
     With(&SchedulerLimits::max_images_per_step, 2),
     {{{Images(1, 3), Images(2, 2), Text(3)}, {}, "encode 1:2 prefill 3"},
      {{}, {}, "encode 1:1 encode 2:1 prefill 1 decode 3"},
      {{}, {}, "encode 2:1 prefill 2 decode 3 decode 1"}}},
    {"OnlyTheOldestRequestMayHoldMoreImagesThanTheLimit",
     [] {
       SchedulerLimits limits = With(&SchedulerLimits::max_images_ahead, 2);
       limits.max_running = 1;
       return limits;
     }(),
     {{{Text(1)}, {}, "prefill 1"},
      {{Images(2, 1), Images(3, 4), Images(4, 1)}, {}, "encode 2:1 encode 3:1 decode 1"},
      {{}, {}, "decode 1"},
      {{}, {1}, "prefill 2"},
      {{}, {}, "encode 3:3 decode 2"},
      {{}, {}, "decode 2"},
      {{}, {2}, "prefill 3"},
      {{}, {}, "encode 4:1 decode 3"}}},
    {"RunningPlacesAreLimited",
     With(&SchedulerLimits::max_running, 2),
     {{{Text(1), Text(2), Text(3)}, {}, "prefill 1 prefill 2"},
      {{}, {}, "decode 1 decode 2"},
      {{}, {2}, "prefill 3 decode 1"}}},
    {"PromptRowsPerStepAreLimitedButALongPromptRunsAlone",
     With(&SchedulerLimits::max_prompt_rows_per_step, int64_t{40}),
     {{{Text(1, 20), Text(2, 20), Text(3, 1), Text(4, 90), Text(5, 40)}, {}, "prefill 1 prefill 2"},
      {{}, {}, "prefill 3 decode 1 decode 2"},
      {{}, {}, "prefill 4 decode 1 decode 2 decode 3"},
      {{}, {}, "prefill 5 decode 1 decode 2 decode 3 decode 4"}}},
    {"PagesForTheWorstCaseAreReservedAndNobodyPassesTheOldestThatWaitsForThem",
     With(&SchedulerLimits::pages, 4),
     {{{Text(1, 10, 22), Text(2, 10, 39), Text(3)}, {}, "prefill 1"},
      {{}, {}, "decode 1"},
      {{}, {1}, "prefill 2"},
      {{}, {}, "decode 2"},
      {{}, {2}, "prefill 3"}}},
    {"AWaitingRequestMayLeave",
     With(&SchedulerLimits::pages, 4),
     {{{Text(1), Text(2, 64 - 6), Text(3)}, {}, "prefill 1"}, {{}, {2}, "prefill 3 decode 1"}}},
    {"WhoIsLateExpiresWhereverItIsAndDoesNothingElse",
     With(&SchedulerLimits::max_running, 1),
     {{{Until(Text(1), 2), Until(Images(2, 1), 1), Until(Images(3, 1), 9)},
       {},
       "encode 2:1 encode 3:1 prefill 1"},
      {{}, {}, "expire 2 decode 1"},
      {{}, {2}, "expire 1"},
      {{}, {1}, "prefill 3"}}},
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
    const Step step = scheduler.Plan(absl::UnixEpoch());
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
  EXPECT_EQ(scheduler.Plan(absl::UnixEpoch()).prompts.size(), 2u);
  EXPECT_EQ(scheduler.running(), 2);
  EXPECT_TRUE(scheduler.Arrive(Text(4)).ok());
}

TEST(Scheduler, KnowsTheNextDeadlineOfWaitingAndRunning) {
  Scheduler scheduler(With(&SchedulerLimits::max_running, 1));
  EXPECT_EQ(scheduler.NextDeadline(), absl::InfiniteFuture());
  ASSERT_TRUE(scheduler.Arrive(Until(Text(1), 50)).ok());
  ASSERT_TRUE(scheduler.Arrive(Until(Text(2), 70)).ok());
  scheduler.Plan(absl::UnixEpoch());
  EXPECT_EQ(scheduler.NextDeadline(), absl::FromUnixSeconds(50));
  scheduler.Finish(1);
  EXPECT_EQ(scheduler.NextDeadline(), absl::FromUnixSeconds(70));
}

TEST(SchedulerDeathTest, EndsTheProcessWhenARequestIsFinishedTwice) {
  Scheduler scheduler(kRoomy);
  ASSERT_TRUE(scheduler.Arrive(Text(1)).ok());
  scheduler.Finish(1);
  EXPECT_DEATH(scheduler.Finish(1), "finished once");
}

}  // namespace
}  // namespace llavamini
