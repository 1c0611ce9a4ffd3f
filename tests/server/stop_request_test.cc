// How the process ends when something in it never will.
#include "server/stop_request.h"

#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "server/exit_code.h"

namespace llavamini {
namespace {

TEST(StopRequest, KeepsTheFirstReason) {
  StopRequest stop;
  stop.Raise(kExitInternal);
  stop.Raise(kExitOk);
  EXPECT_EQ(stop.Wait(), kExitInternal);
}

TEST(StopRequestDeathTest, EndsAProcessThatHangs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto hang = [] {
    ExitLatest(absl::Milliseconds(10), kExitInternal);
    absl::Notification never;
    never.WaitForNotification();
  };
  EXPECT_EXIT(hang(), testing::ExitedWithCode(kExitInternal), "");
}

}  // namespace
}  // namespace llavamini
