#include "server/prepare/prepare_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

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

TEST(PreparePool, RunsEachPartOnce) {
  PreparePool pool(/*threads=*/3, /*max_queue=*/1);
  std::vector<std::atomic<int>> ran(1000);
  pool.ForEach(std::ssize(ran), [&](int64_t i) { ++ran[i]; });
  EXPECT_THAT(ran, testing::Each(testing::Eq(1)));
  pool.ForEach(0, [&](int64_t) { FAIL() << "there is no part"; });
}

TEST(PreparePool, SharesPartsWithThreadsThatHaveNoJob) {
  PreparePool pool(/*threads=*/1, /*max_queue=*/1);
  absl::Notification arrived[2];
  pool.ForEach(2, [&](int64_t i) {
    arrived[i].Notify();
    arrived[1 - i].WaitForNotification();
  });
}

TEST(PreparePool, RunsPartsOfItsOwnJobWhileEverybodyElseIsBusy) {
  std::atomic<int> ran{0};
  {
    PreparePool pool(/*threads=*/2, /*max_queue=*/2);
    absl::Notification release;
    PreparePool::Job blocking = [&] { release.WaitForNotification(); };
    PreparePool::Job sharing = [&] {
      pool.ForEach(10, [&](int64_t) { ++ran; });
      release.Notify();
    };
    ASSERT_TRUE(pool.TrySubmit(blocking));
    ASSERT_TRUE(pool.TrySubmit(sharing));
  }
  EXPECT_EQ(ran, 10);
}

TEST(PreparePool, TakesAJobBeforeMorePartsOfAnother) {
  PreparePool pool(/*threads=*/1, /*max_queue=*/1);
  absl::Notification helping, submitted, job_ran;
  const std::thread::id caller = std::this_thread::get_id();
  PreparePool::Job job = [&] { job_ran.Notify(); };
  pool.ForEach(3, [&](int64_t) {
    if (submitted.HasBeenNotified()) {
      EXPECT_TRUE(job_ran.HasBeenNotified());
    } else if (std::this_thread::get_id() == caller) {
      helping.WaitForNotification();
      EXPECT_TRUE(pool.TrySubmit(job));
      submitted.Notify();
      job_ran.WaitForNotification();
    } else {
      helping.Notify();
      submitted.WaitForNotification();
    }
  });
}

TEST(PreparePool, ThrowsWhatAPartThrowsAndBeginsNoMore) {
  PreparePool pool(/*threads=*/1, /*max_queue=*/1);
  std::atomic<int> ran{0};
  const auto fail = [&ran](int64_t) {
    ++ran;
    throw std::runtime_error("broken");
  };
  EXPECT_THROW(pool.ForEach(100, fail), std::runtime_error);
  EXPECT_LE(ran, 2);  // one on each thread
}

}  // namespace
}  // namespace llavamini
