// Checkpoint::TakeRows, and progress.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

using testing::HasSubstr;

class StackedTest : public testing::Test {
 protected:
  StackedTest() {
    folder_.Write(
        "model.safetensors",
        WriteSafetensors({CountingTensor("q", "F16", {6, 5}), CountingTensor("k", "F16", {2, 5}),
                          CountingTensor("v", "BF16", {3, 5}), CountingTensor("b", "F16", {4}),
                          CountingTensor("c", "F32", {2})}));
  }

  std::unique_ptr<Checkpoint> Open() const {
    auto checkpoint = Checkpoint::Open(folder_.path(), std::nullopt);
    EXPECT_EQ(checkpoint.status(), absl::OkStatus());
    return *std::move(checkpoint);
  }

  const TemporaryFolder folder_;
  const std::vector<std::string> qkv_ = {"q", "k", "v"};
};

TEST_F(StackedTest, EqualsTheTensorsOneAfterAnother) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto one_by_one = Open(), together = Open();
    one_by_one->SetTarget(at::kCPU, dtype);
    together->SetTarget(at::kCPU, dtype);
    const at::Tensor weights = together->TakeRows(qkv_, {6, 2, 3}, {5});
    ASSERT_TRUE(weights.defined()) << together->Finish();
    EXPECT_EQ(weights.scalar_type(), dtype);
    EXPECT_TRUE(weights.is_contiguous());
    EXPECT_TRUE(weights.equal(at::cat({one_by_one->Take("q", {6, 5}), one_by_one->Take("k", {2, 5}),
                                       one_by_one->Take("v", {3, 5})})));
    const at::Tensor biases = together->TakeRows(std::vector<std::string>{"b", "c"}, {4, 2}, {});
    EXPECT_TRUE(biases.equal(at::cat({one_by_one->Take("b", {4}), one_by_one->Take("c", {2})})));
    EXPECT_EQ(together->parameters(), 61);
    EXPECT_EQ(together->Finish(), absl::OkStatus());
  }
}

TEST_F(StackedTest, KeepsTheFailureOfAnyOfThem) {
  const auto wrong_rows = Open();
  EXPECT_FALSE(wrong_rows->TakeRows(qkv_, {6, 3, 2}, {5}).defined());
  EXPECT_THAT(std::string(wrong_rows->Finish().message()),
              HasSubstr("k: expected [3, 5], the checkpoint has [2, 5]"));
  const auto missing = Open();
  EXPECT_FALSE(missing->TakeRows(std::vector<std::string>{"q", "w"}, {6, 1}, {5}).defined());
  EXPECT_THAT(std::string(missing->Finish().message()), HasSubstr("w: expected [1, 5]"));
  const auto twice = Open();
  EXPECT_FALSE(twice->TakeRows(std::vector<std::string>{"q", "q"}, {6, 6}, {5}).defined());
  EXPECT_EQ(std::string(twice->Finish().message()), "q: taken twice");
  EXPECT_EQ(twice->parameters(), 0);
}

TEST_F(StackedTest, ReportsProgressUpToTheWhole) {
  const auto checkpoint = Open();
  std::vector<std::pair<int64_t, int64_t>> reports;
  checkpoint->SetProgress([&](int64_t done, int64_t total) { reports.emplace_back(done, total); });
  checkpoint->TakeRows(qkv_, {6, 2, 3}, {5});
  checkpoint->Expect("b", {4});
  checkpoint->Take("c", {2});
  EXPECT_THAT(reports,
              testing::ElementsAre(std::pair(60, 126), std::pair(80, 126), std::pair(110, 126),
                                   std::pair(118, 126), std::pair(126, 126)));
}

}  // namespace
}  // namespace llavamini
