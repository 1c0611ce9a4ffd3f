// Page-locked memory and the copies that use it.
#ifdef LLAVAMINI_WITH_CUDA

#include "model/page_locked.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/Sleep.h>
#include <gtest/gtest.h>

namespace llavamini {
namespace {

constexpr int64_t kBytes = 3 << 20;
constexpr int64_t kCycles = 200'000'000;  // a tenth of a second

class PageLockedMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA() || at::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
  static at::Tensor OnGpu(int value) {
    return at::full({kBytes}, value, at::TensorOptions(at::kByte).device(at::kCUDA));
  }
};

TEST_F(PageLockedMemory, IsKeptUntilACopyFromItIsDone) {
  const at::Tensor target = OnGpu(0);
  at::cuda::getCurrentCUDAStream().synchronize();
  at::cuda::sleep(kCycles);
  at::Tensor host = PageLocked({kBytes}, at::kByte).fill_(7);
  const void* const first = host.data_ptr();
  target.copy_(host, /*non_blocking=*/true);
  host.reset();
  const at::Tensor other = PageLocked({kBytes}, at::kByte).fill_(9);
  EXPECT_NE(other.data_ptr(), first) << "the copy still reads it";
  EXPECT_TRUE(target.eq(7).all().item<bool>());
}

TEST_F(PageLockedMemory, IsKeptUntilACopyToItIsDone) {
  const at::Tensor source = OnGpu(5);
  at::cuda::getCurrentCUDAStream().synchronize();
  at::cuda::sleep(kCycles);
  at::Tensor host = PageLocked({kBytes}, at::kByte);
  const void* const first = host.data_ptr();
  host.copy_(source, /*non_blocking=*/true);
  host.reset();
  const at::Tensor other = PageLocked({kBytes}, at::kByte).fill_(9);
  EXPECT_NE(other.data_ptr(), first) << "the copy still writes it";
  at::cuda::getCurrentCUDAStream().synchronize();
  EXPECT_TRUE(other.eq(9).all().item<bool>());
}

TEST_F(PageLockedMemory, IsHandedOutAgainWhenNobodyCopies) {
  at::Tensor host = PageLocked({kBytes}, at::kByte);
  const void* const first = host.data_ptr();
  OnGpu(0).copy_(host, /*non_blocking=*/true);
  at::cuda::getCurrentCUDAStream().synchronize();
  host.reset();
  EXPECT_EQ(PageLocked({kBytes}, at::kByte).data_ptr(), first);
}

TEST_F(PageLockedMemory, OfNothingIsEmpty) { EXPECT_EQ(PageLocked({0, 4}, at::kFloat).numel(), 0); }

}  // namespace
}  // namespace llavamini

#endif  // LLAVAMINI_WITH_CUDA
