#include "server/engine/vision_planner.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini {
namespace {

constexpr VisionLimits kLimits{
    .max_images_per_batch = 3, .max_images_ahead = 8, .max_rows_ahead = 100};

TEST(VisionPlanner, LooksAtABatchOfEachRequestAtMost) {
  EXPECT_EQ(NextImages(0, kLimits), 0);
  EXPECT_EQ(NextImages(2, kLimits), 2);
  EXPECT_EQ(NextImages(10'000, kLimits), 3);
  VisionLimits tight = kLimits;
  tight.max_images_ahead = 1;
  EXPECT_EQ(NextImages(10'000, tight), 1);
}

struct InWork {
  std::string name;
  std::vector<VisionRequest> waiting;
  size_t count;
};
class RequestsAreWorkedOn : public testing::TestWithParam<InWork> {};
TEST_P(RequestsAreWorkedOn, AsFarAsMemoryAllows) {
  EXPECT_EQ(RequestsInWork(GetParam().waiting, kLimits), GetParam().count);
}
const InWork kInWork[] = {
    {"None", {}, 0},
    {"AllThatFit", {{1, 50}, {2, 50}}, 2},
    {"ALongVideoCountsAsOneBatch", {{10'000, 1}, {10'000, 1}, {2, 1}}, 3},
    {"ImagesAhead", {{3, 1}, {3, 1}, {3, 1}}, 2},
    {"RowsAhead", {{1, 60}, {1, 41}, {1, 1}}, 1},
    {"FusedRequestsThatWaitCountTheirRows", {{0, 60}, {0, 40}, {1, 1}}, 2},
    {"TheOldestHoweverLarge", {{1, 10'000}, {1, 1}}, 1},
};
INSTANTIATE_TEST_SUITE_P(VisionPlanner, RequestsAreWorkedOn, testing::ValuesIn(kInWork),
                         [](const auto& row) { return row.param.name; });

WantedImage Wanted(uint8_t key, int ratio = 1) { return {{key}, ratio}; }

struct Batch {
  std::string name;
  std::vector<WantedImage> wanted;
  std::vector<size_t> planned;
};
class ABatch : public testing::TestWithParam<Batch> {};
TEST_P(ABatch, IsPlanned) { EXPECT_EQ(PlanBatch(GetParam().wanted, kLimits), GetParam().planned); }
const Batch kBatches[] = {
    {"OfNothing", {}, {}},
    {"OfWhatThereIs", {Wanted(1), Wanted(2)}, {0, 1}},
    {"NeverMoreThanFull", {Wanted(1), Wanted(2), Wanted(3), Wanted(4)}, {0, 1, 2}},
    {"WithEachImageOnce", {Wanted(1), Wanted(1), Wanted(2), Wanted(1)}, {0, 2}},
    {"OfTheOldestsRatio", {Wanted(1, 2), Wanted(2, 1), Wanted(3, 2), Wanted(4, 1)}, {0, 2}},
};
INSTANTIATE_TEST_SUITE_P(VisionPlanner, ABatch, testing::ValuesIn(kBatches),
                         [](const auto& row) { return row.param.name; });

TEST(VisionPlanner, HoldsMovesBackToABatchWhileOthersRun) {
  EXPECT_EQ(MovesNow(/*anyone_runs=*/false, kLimits), 8);
  EXPECT_EQ(MovesNow(/*anyone_runs=*/true, kLimits), 3);
}

struct Pieces {
  std::string name;
  PieceFacts facts;
  int pieces;
};
class SomePieces : public testing::TestWithParam<Pieces> {};
TEST_P(SomePieces, GoBeforeAStep) { EXPECT_EQ(PiecesNow(GetParam().facts), GetParam().pieces); }
// Twelve pieces of 1 ms before a step of 5 ms, where an idle server's takes 4 ms.
PieceFacts Before(int64_t rows = 3, bool prompts = false, bool put_off = false) {
  PieceFacts facts;
  facts.pieces_left = 12;
  facts.load.anyone_runs = true;
  facts.load.step_rows = rows;
  facts.load.step_has_prompts = prompts;
  facts.put_off = put_off;
  facts.step_milliseconds = 5;
  facts.idle_milliseconds = 4;
  facts.piece_milliseconds = 1;
  return facts;
}
PieceFacts With(double PieceFacts::*fact, double value, PieceFacts facts = Before()) {
  facts.*fact = value;
  return facts;
}
PieceFacts Left(int pieces, PieceFacts facts = Before()) {
  facts.pieces_left = pieces;
  return facts;
}
PieceFacts NobodyRuns(PieceFacts facts) {
  facts.load.anyone_runs = false;
  return facts;
}
constexpr auto kStep = &PieceFacts::step_milliseconds;
constexpr auto kPiece = &PieceFacts::piece_milliseconds;
constexpr auto kSpent = &PieceFacts::spent_milliseconds;
constexpr auto kWaiting = &PieceFacts::batches_waiting;

const Pieces kPieces[] = {
    {"AllWhileNothingRuns", NobodyRuns(Before(0)), 12},
    {"NoneWhileTokensAreAwaited", Before(0), 0},
    {"UpToTwoStepsOfAnIdleServer", Before(), 3},
    {"WholeOnesOnly", With(kPiece, 1.6), 1},
    {"WhatIsLeftOfTheTime", With(kSpent, 2), 1},
    {"NoneOnceTheTimeIsSpent", With(kSpent, 3), 0},
    {"OneAtLeast", With(kPiece, 9), 1},
    {"OneBeforeAStepOfMoreThanThatTime", With(kStep, 9), 1},
    {"NoneBeforePrompts", Before(3, /*prompts=*/true), 0},
    {"OneBeforePromptsAfterAStepWithoutAny", Before(3, /*prompts=*/true, /*put_off=*/true), 1},
    {"NoMoreForHalfABatchThatWaits", With(kWaiting, 0.5), 3},
    {"MoreAsImagesPileUp", With(kWaiting, 0.75), 6},
    {"ThreeTimesTheStepForAFullBatch", With(kWaiting, 1, With(kPiece, 1.5)), 10},
    {"AsManyForALargerPile", With(kWaiting, 9, With(kPiece, 1.5)), 10},
    {"BeforePromptsTooWhereImagesPileUp", With(kWaiting, 0.75, Before(3, /*prompts=*/true)), 6},
    {"NoMoreThanAreLeft", Left(2), 2},
    {"OneWhereTimesAreNotKnown", With(kStep, 0, With(kPiece, 0)), 1},
    {"NoneWhereNoneIsLeft", Left(0), 0},
};
INSTANTIATE_TEST_SUITE_P(VisionPlanner, SomePieces, testing::ValuesIn(kPieces),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace llavamini
