#include "server/engine/vision_planner.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini {
namespace {

constexpr VisionLimits kLimits{.max_images_per_batch = 3,
                               .max_images_ahead = 8,
                               .max_rows_ahead = 100,
                               .batch_wait = absl::Milliseconds(2)};

absl::Time At(int64_t millisecond) { return absl::FromUnixMillis(millisecond); }

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

WantedImage Wanted(uint8_t key, int ratio = 1, int64_t since = 0) {
  return {{key}, ratio, At(since)};
}

struct Batch {
  std::string name;
  std::vector<WantedImage> wanted;
  bool anyone_runs;
  int64_t now;  // in milliseconds
  std::vector<size_t> planned;
};
class ABatch : public testing::TestWithParam<Batch> {};
TEST_P(ABatch, IsPlanned) {
  const Batch& batch = GetParam();
  EXPECT_EQ(PlanBatch(batch.wanted, batch.anyone_runs, At(batch.now), kLimits), batch.planned);
}
const Batch kBatches[] = {
    {"OfNothing", {}, false, 9, {}},
    {"AtOnceWhileNothingRuns", {Wanted(1)}, false, 0, {0}},
    {"NotYetWhileOthersRun", {Wanted(1), Wanted(2)}, true, 1, {}},
    {"OnceTheOldestHasWaited", {Wanted(1), Wanted(2, 1, 2)}, true, 2, {0, 1}},
    {"OnceItIsFull", {Wanted(1), Wanted(2), Wanted(3)}, true, 0, {0, 1, 2}},
    {"NeverMoreThanFull", {Wanted(1), Wanted(2), Wanted(3), Wanted(4)}, false, 0, {0, 1, 2}},
    {"WithEachImageOnce", {Wanted(1), Wanted(1), Wanted(2), Wanted(1)}, false, 0, {0, 2}},
    {"NotFullWithTheSameImage", {Wanted(1), Wanted(1), Wanted(1)}, true, 0, {}},
    {"OfTheOldestsRatio",
     {Wanted(1, 2), Wanted(2, 1), Wanted(3, 2), Wanted(4, 1)},
     false,
     0,
     {0, 2}},
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
const Pieces kPieces[] = {
    {"AllWhileNothingRuns", {12, 0, 0, 4, 2}, 12},
    {"NoneWhileTokensAreAwaited", {12, 3, 0, 0, 2}, 0},
    {"TheTimeOfAStepRounded", {12, 3, 3, 4, 1.5}, 3},
    {"WhatIsLeftOfTheTime", {12, 3, 3, 4, 1, 3}, 1},
    {"NoneOnceTheTimeIsSpent", {12, 3, 3, 4, 1, 4}, 0},
    {"TwiceTheTimeWhereImagesPileUp", {12, 3, 3, 4, 1, 0, true}, 8},
    {"AtLeastOne", {12, 3, 3, 4, 9}, 1},
    {"NoMoreThanAreLeft", {2, 3, 3, 40, 1}, 2},
    {"OneWhereTimesAreNotKnown", {12, 3, 3, 0, 0}, 1},
    {"OneWhereTheStepsTimeIsNotKnown", {12, 3, 3, 0, 2}, 1},
    {"NoneWhereNoneIsLeft", {0, 3, 3, 4, 1}, 0},
};
INSTANTIATE_TEST_SUITE_P(VisionPlanner, SomePieces, testing::ValuesIn(kPieces),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace llavamini
