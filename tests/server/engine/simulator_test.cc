#include "tests/server/engine/simulator.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/spdlog.h"
#include "tests/server/engine/planted_faults.h"

namespace llavamini {
namespace {

constexpr uint64_t kWorlds = 20'000;
constexpr uint64_t kWorldsToFindAFault = 300;

// Failures of the model are wanted here, and their log lines are not.
class Simulator : public testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }
  void TearDown() override { spdlog::set_level(spdlog::level::info); }
};

TEST_F(Simulator, FindsNothingWrongInTwentyThousandWorlds) {
  Happenings all;
  for (uint64_t seed = 0; seed < kWorlds; ++seed) {
    const WorldReport report = RunWorld(MakeWorld(seed));
    ASSERT_THAT(report.violations, testing::IsEmpty()) << "in world " << seed;
    all.Add(report.happenings);
  }
  // The worlds are rich: everything that can happen does, often.
  for (const int64_t times :
       {all.stopped, all.stopped_by_string, all.full_length, all.cancelled, all.late,
        all.never_fits, all.queue_full, all.failed, all.out_of_memory, all.device_lost,
        all.cached_images, all.moved_to_host, all.moved_to_device, all.launched_ahead,
        all.mixed_steps, all.surplus_tokens}) {
    EXPECT_GT(times, 1000);
  }
  EXPECT_EQ(all.largest_batch, 6);
}

TEST_F(Simulator, GivesTheSameWorldTheSameCourse) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Happenings first = RunWorld(MakeWorld(seed)).happenings;
    const Happenings second = RunWorld(MakeWorld(seed)).happenings;
    EXPECT_EQ(first.steps, second.steps);
    EXPECT_EQ(first.encoded_images, second.encoded_images);
  }
}

class PlantedFaults : public Simulator, public testing::WithParamInterface<NamedFault> {};

TEST_P(PlantedFaults, AreFound) {
  std::vector<std::string> said;
  for (uint64_t seed = 0; seed < kWorldsToFindAFault; ++seed) {
    const WorldReport report = RunWorld(MakeWorld(seed), GetParam().fault);
    said.insert(said.end(), report.violations.begin(), report.violations.end());
    if (std::count(said.begin(), said.end(), GetParam().symptom) > 0) return;
  }
  FAIL() << "not found, only: " << testing::PrintToString(said);
}

std::string NameOf(const testing::TestParamInfo<NamedFault>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Scheduler, PlantedFaults, testing::ValuesIn(SchedulerFaults()), NameOf);
INSTANTIATE_TEST_SUITE_P(Model, PlantedFaults, testing::ValuesIn(ModelFaults()), NameOf);
INSTANTIATE_TEST_SUITE_P(Request, PlantedFaults, testing::ValuesIn(RequestFaults()), NameOf);

}  // namespace

// Names a fault in messages of the test.
void PrintTo(const NamedFault& fault, std::ostream* stream) { *stream << fault.name; }

}  // namespace llavamini
