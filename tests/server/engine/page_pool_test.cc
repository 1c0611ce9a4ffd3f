#include "server/engine/page_pool.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(PagePool, GivesEveryPageOnce) {
  PagePool pool(5);
  EXPECT_THAT(pool.Take(2), ElementsAre(0, 1));
  EXPECT_THAT(pool.Take(0), IsEmpty());
  EXPECT_THAT(pool.Take(3), ElementsAre(2, 3, 4));
  EXPECT_EQ(pool.available(), 0);
  EXPECT_EQ(pool.total(), 5);
}

TEST(PagePool, GivesReturnedPagesAgain) {
  PagePool pool(3);
  const std::vector<int32_t> first = pool.Take(2);
  const std::vector<int32_t> second = pool.Take(1);
  pool.Return(first);
  EXPECT_EQ(pool.available(), 2);
  EXPECT_THAT(pool.Take(2), testing::UnorderedElementsAreArray(first));
  pool.Return(second);
  EXPECT_EQ(pool.available(), 1);
}

TEST(PagePoolDeathTest, EndsTheProcessWhenPagesWouldBeSharedOrInvented) {
  PagePool pool(3);
  const std::vector<int32_t> pages = pool.Take(2);
  EXPECT_DEATH(pool.Take(2), "more pages");
  EXPECT_DEATH(pool.Take(-1), "more pages");
  EXPECT_DEATH(pool.Return({2}), "returned once");
  EXPECT_DEATH(pool.Return({3}), "returned once");
  EXPECT_DEATH(pool.Return({-1}), "returned once");
  EXPECT_DEATH(pool.Return({0, 0}), "returned once");
}

}  // namespace
}  // namespace llavamini
