#include "server/engine/image_cache.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/engine/fake_model.h"

namespace llavamini {
namespace {

ImageKey Key(uint8_t number) {
  ImageKey key{};
  key.front() = number;
  return key;
}

class ImageCacheTest : public testing::Test {
 protected:
  EncodedImagePtr Image(size_t bytes) {
    return std::make_shared<FakeEncodedImage>(0, bytes, alive_);
  }
  EncodedImagePtr OnHost(size_t bytes) {
    return std::make_shared<FakeEncodedImage>(0, bytes, alive_, /*on_host=*/true);
  }
  const Census alive_ = MakeCensus();
};

TEST_F(ImageCacheTest, FindsWhatWasInserted) {
  ImageCache cache(100);
  const EncodedImagePtr image = Image(40);
  cache.Insert(Key(1), image);
  EXPECT_EQ(cache.Find(Key(1)), image);
  EXPECT_EQ(cache.Find(Key(2)), nullptr);
  EXPECT_EQ(cache.device_bytes(), 40u);
}

TEST_F(ImageCacheTest, TellsKeysApartByTheirLastByte) {
  ImageCache cache(100);
  ImageKey one{}, other{};
  other.back() = 1;
  cache.Insert(one, Image(10));
  EXPECT_EQ(cache.Find(other), nullptr);
}

TEST_F(ImageCacheTest, DropsTheLeastRecentlyUsedUntilTheNewOneFits) {
  ImageCache cache(100);
  for (const uint8_t number : {1, 2, 3}) cache.Insert(Key(number), Image(30));
  EXPECT_NE(cache.Find(Key(1)), nullptr);
  cache.Insert(Key(4), Image(60));
  EXPECT_NE(cache.Find(Key(1)), nullptr);
  EXPECT_EQ(cache.Find(Key(2)), nullptr);
  EXPECT_EQ(cache.Find(Key(3)), nullptr);
  EXPECT_NE(cache.Find(Key(4)), nullptr);
  EXPECT_EQ(cache.device_bytes(), 90u);
  EXPECT_EQ(*alive_, 2);
}

TEST_F(ImageCacheTest, FillsItsCapacityToTheLastByte) {
  ImageCache cache(100);
  cache.Insert(Key(1), Image(50));
  cache.Insert(Key(2), Image(50));
  EXPECT_EQ(cache.device_bytes(), 100u);
  cache.Insert(Key(3), Image(1));
  EXPECT_EQ(cache.device_bytes(), 51u);
}

TEST_F(ImageCacheTest, DoesNotKeepAnImageLargerThanItself) {
  ImageCache cache(100);
  cache.Insert(Key(1), Image(30));
  cache.Insert(Key(2), Image(101));
  EXPECT_EQ(cache.Find(Key(2)), nullptr);
  EXPECT_NE(cache.Find(Key(1)), nullptr);
  ImageCache none(0);
  EXPECT_TRUE(none.Insert(Key(1), Image(1)).empty());
  EXPECT_EQ(none.Find(Key(1)), nullptr);
}

TEST_F(ImageCacheTest, ReplacesAnImageOfTheSameKey) {
  ImageCache cache(100);
  cache.Insert(Key(1), Image(30));
  const EncodedImagePtr newer = Image(50);
  cache.Insert(Key(1), newer);
  EXPECT_EQ(cache.Find(Key(1)), newer);
  EXPECT_EQ(cache.device_bytes(), 50u);
  EXPECT_EQ(*alive_, 1);
}

TEST_F(ImageCacheTest, LeavesADroppedImageToThoseWhoHoldIt) {
  ImageCache cache(100);
  cache.Insert(Key(1), Image(60));
  const EncodedImagePtr held = cache.Find(Key(1));
  cache.Insert(Key(2), Image(60));
  EXPECT_EQ(cache.Find(Key(1)), nullptr);
  EXPECT_EQ(held->bytes(), 60u);
}

TEST_F(ImageCacheTest, SaysWhatFallsOutOfTheDeviceAndFindsItOnTheHost) {
  ImageCache cache(/*device_bytes=*/100, /*host_bytes=*/100);
  EXPECT_TRUE(cache.Insert(Key(1), Image(60)).empty());
  const std::vector<CachedImage> fallen = cache.Insert(Key(2), Image(60));
  ASSERT_EQ(fallen.size(), 1u);
  EXPECT_EQ(fallen[0].key, Key(1));
  EXPECT_EQ(fallen[0].image->bytes(), 60u);
  EXPECT_EQ(cache.Find(Key(1)), nullptr);
  EXPECT_TRUE(cache.Insert(Key(1), OnHost(60)).empty());
  EXPECT_TRUE(cache.Find(Key(1))->on_host());
  EXPECT_FALSE(cache.Find(Key(2))->on_host());
  EXPECT_EQ(cache.host_bytes(), 60u);
}

TEST_F(ImageCacheTest, PrefersTheDeviceAndKeepsTheHostsCopyForTheNextFall) {
  ImageCache cache(100, 100);
  cache.Insert(Key(1), OnHost(60));
  cache.Insert(Key(1), Image(60));
  EXPECT_FALSE(cache.Find(Key(1))->on_host());
  EXPECT_TRUE(cache.Insert(Key(2), Image(60)).empty());  // the host has what fell
  EXPECT_TRUE(cache.Find(Key(1))->on_host());
}

TEST_F(ImageCacheTest, HandsNothingToAHostWithoutRoom) {
  ImageCache cache(100, 50);
  cache.Insert(Key(1), Image(60));
  EXPECT_TRUE(cache.Insert(Key(2), Image(60)).empty());
  EXPECT_EQ(cache.Insert(Key(3), Image(101)).size(), 0u);
}

TEST_F(ImageCacheTest, HandsWhatTheDeviceCannotKeepToTheHost) {
  ImageCache cache(10, 100);
  EXPECT_EQ(cache.Insert(Key(1), Image(60)).size(), 1u);
  EXPECT_EQ(cache.device_bytes(), 0u);
}

TEST_F(ImageCacheTest, ServesSeveralThreads) {
  ImageCache cache(100);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 500; ++i) {
        const ImageKey key = Key(static_cast<uint8_t>((i * 7 + thread) % 16));
        if (cache.Find(key) == nullptr) cache.Insert(key, Image(10));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.device_bytes(), 100u);
  EXPECT_EQ(*alive_, 10);
}

}  // namespace
}  // namespace llavamini
