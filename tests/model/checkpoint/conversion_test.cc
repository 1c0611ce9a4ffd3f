// Checkpoint::Take: bit-exact values in each dtype, ownership, alignment, and the order of
// failures.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/safetensors.h"
#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

using testing::HasSubstr;

std::filesystem::path Goldens() {
  return std::filesystem::path(LLAVAMINI_SOURCE_DIR) / "tests/golden/checkpoint";
}

std::unique_ptr<Checkpoint> Open(const std::filesystem::path& folder) {
  auto checkpoint = Checkpoint::Open(folder, std::nullopt);
  EXPECT_EQ(checkpoint.status(), absl::OkStatus());
  return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
}

std::unique_ptr<Checkpoint> OpenOne(const TemporaryFolder& folder, const TensorBytes& tensor) {
  folder.Write("model.safetensors", WriteSafetensors({tensor}));
  return Open(folder.path());
}

const std::map<std::string, at::ScalarType>& Targets() {
  static const std::map<std::string, at::ScalarType> kTargets = {
      {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}};
  return kTargets;
}

std::string BytesOf(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

TEST(Checkpoint, ConvertsBitForBit) {
  const auto expected = SafetensorsFile::Open(Goldens() / "expected.safetensors");
  ASSERT_EQ(expected.status(), absl::OkStatus());
  ASSERT_EQ(expected->tensors().size(), 9u);
  for (const TensorInfo& golden : expected->tensors()) {  // "F16 as BF16"
    const std::string source = golden.name.substr(0, golden.name.find(' '));
    const std::string target = golden.name.substr(golden.name.rfind(' ') + 1);
    const std::unique_ptr<Checkpoint> checkpoint = Open(Goldens());
    ASSERT_NE(checkpoint, nullptr);
    checkpoint->SetTarget(at::kCPU, Targets().at(target));
    const at::Tensor taken = checkpoint->Take(source, golden.shape);
    ASSERT_TRUE(taken.defined()) << golden.name << ": " << checkpoint->Finish();
    ASSERT_EQ(taken.scalar_type(), Targets().at(target)) << golden.name;
    ASSERT_EQ(taken.nbytes(), golden.data.size()) << golden.name;
    EXPECT_EQ(std::memcmp(taken.const_data_ptr(), golden.data.data(), taken.nbytes()), 0)
        << golden.name;
  }
}

TEST(Checkpoint, ReadsScalarsAndEmptyTensorsOfTheReferenceWriter) {
  const std::unique_ptr<Checkpoint> checkpoint = Open(Goldens());
  ASSERT_NE(checkpoint, nullptr);
  const at::Tensor scalar = checkpoint->Take("scalar", {});
  ASSERT_TRUE(scalar.defined());
  EXPECT_EQ(scalar.dim(), 0);
  EXPECT_EQ(scalar.item<float>(), 2.5f);
  const at::Tensor empty = checkpoint->Take("empty", {0, 3});
  ASSERT_TRUE(empty.defined());
  EXPECT_EQ(empty.sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(checkpoint->parameters(), 1);
}

TEST(Checkpoint, KeepsNotANumber) {
  const TemporaryFolder folder;
  const std::unique_ptr<Checkpoint> checkpoint =
      OpenOne(folder, {"t", "F16", {2}, std::string("\x01\x7c\x00\xfe", 4)});
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_TRUE(checkpoint->Take("t", {2}).isnan().all().item<bool>());
}

TEST(Checkpoint, ReadsTensorsAtOddAddresses) {
  const TemporaryFolder folder;
  for (const auto& [source, type] : Targets()) {
    for (const auto& [target, target_type] : Targets()) {
      const TensorBytes shift = CountingTensor("shift", "U8", {3});
      const TensorBytes tensor = CountingTensor("t", source, {5, 7});
      folder.Write("model.safetensors", WriteSafetensors({shift, tensor}));
      const std::unique_ptr<Checkpoint> shifted = Open(folder.path());
      const TemporaryFolder other;
      const std::unique_ptr<Checkpoint> aligned = OpenOne(other, tensor);
      shifted->SetTarget(at::kCPU, target_type);
      aligned->SetTarget(at::kCPU, target_type);
      const at::Tensor taken = shifted->Take("t", {5, 7});
      ASSERT_TRUE(taken.defined());
      EXPECT_EQ(BytesOf(taken), BytesOf(aligned->Take("t", {5, 7}))) << source << " " << target;
      if (source == target) {
        EXPECT_EQ(BytesOf(taken), tensor.bytes);
      }
    }
  }
}

TEST(Checkpoint, GivesTensorsThatOutliveTheMapping) {
  const TemporaryFolder folder;
  const TensorBytes tensor = CountingTensor("t", "F32", {64, 3});
  for (const auto& [name, type] : Targets()) {
    std::unique_ptr<Checkpoint> checkpoint = OpenOne(folder, tensor);
    ASSERT_NE(checkpoint, nullptr);
    checkpoint->SetTarget(at::kCPU, type);
    const at::Tensor taken = checkpoint->Take("t", {64, 3});
    ASSERT_TRUE(taken.defined());
    EXPECT_TRUE(taken.is_contiguous());
    const at::Tensor before = taken.clone();
    checkpoint.reset();
    EXPECT_EQ(BytesOf(taken), BytesOf(before)) << name;
  }
}

TEST(Checkpoint, CountsWhatWasTakenAndNotWhatWasExpected) {
  const TemporaryFolder folder;
  WriteGoodFolder(folder);
  const std::unique_ptr<Checkpoint> checkpoint = Open(folder.path());
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_EQ(checkpoint->parameters(), 0);
  checkpoint->Take("lm_head.weight", {20, 8});
  checkpoint->Take("model.norm.weight", {8});
  checkpoint->Expect("model.embed_tokens.weight", {20, 8});
  EXPECT_EQ(checkpoint->parameters(), 168);
}

TEST(Checkpoint, KeepsTheFirstFailure) {
  const TemporaryFolder folder;
  WriteGoodFolder(folder);
  const std::unique_ptr<Checkpoint> checkpoint = Open(folder.path());
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_FALSE(checkpoint->Take("model.norm.weight", {9}).defined());
  EXPECT_FALSE(checkpoint->Take("absent", {1}).defined());
  EXPECT_FALSE(checkpoint->Take("lm_head.weight", {20, 8}).defined());
  EXPECT_EQ(checkpoint->parameters(), 0);
  EXPECT_THAT(std::string(checkpoint->Finish().message()),
              HasSubstr("model.norm.weight: expected [9], the checkpoint has [8]"));
}

TEST(Checkpoint, RefusesToGiveATensorTwice) {
  const TemporaryFolder folder;
  const std::unique_ptr<Checkpoint> checkpoint = OpenOne(folder, CountingTensor("t", "F32", {2}));
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_TRUE(checkpoint->Take("t", {2}).defined());
  EXPECT_FALSE(checkpoint->Take("t", {2}).defined());
  EXPECT_EQ(std::string(checkpoint->Finish().message()), "t: taken twice");
}

}  // namespace
}  // namespace llavamini
