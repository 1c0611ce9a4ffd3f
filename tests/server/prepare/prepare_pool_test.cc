#include "server/prepare/prepare_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "absl/synchronization/notification.h"

namespace llavamini {
namespace {

TEST(PreparePool, RefusesWhenItsQueueIsFullAndLeavesTheJob) {
  absl::Notification started, release;
  std::atomic<int> ran{0};
  {
    PreparePool pool(/*threads=*/1, /*max_queue=*/2);
    PreparePool::Job blocking = [&] {
      started.Notify();
      release.WaitForNotification();
    };
    ASSERT_TRUE(pool.TrySubmit(blocking));
    started.WaitForNotification();
    for (int i = 0; i < 2; ++i) {
      PreparePool::Job job = [&ran] { ++ran; };
      EXPECT_TRUE(pool.TrySubmit(job));
    }
    PreparePool::Job refused = [&ran] { ran += 100; };
    EXPECT_FALSE(pool.TrySubmit(refused));
    ASSERT_TRUE(static_cast<bool>(refused));
    release.Notify();
  }
  EXPECT_EQ(ran, 2);
}

TEST(PreparePool, WorksOnAllThreadsAtOnce) {
  absl::Notification first, second;
  PreparePool pool(/*threads=*/2, /*max_queue=*/2);
  PreparePool::Job a = [&] {
    first.Notify();
    second.WaitForNotification();
  };
  PreparePool::Job b = [&] {
    second.Notify();
    first.WaitForNotification();
  };
  ASSERT_TRUE(pool.TrySubmit(a));
  ASSERT_TRUE(pool.TrySubmit(b));
}

TEST(PreparePool, RunsWhatIsQueuedBeforeItEnds) {
  std::atomic<int> ran{0};
  {
    PreparePool pool(/*threads=*/2, /*max_queue=*/100);
    for (int i = 0; i < 100; ++i) {
      PreparePool::Job job = [&ran] { ++ran; };
      ASSERT_TRUE(pool.TrySubmit(job));
    }
  }
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace llavamini
