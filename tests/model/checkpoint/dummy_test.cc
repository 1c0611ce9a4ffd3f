// Checkpoint::Dummy: the same values on every start, of sizes that a deep model can bear.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "model/checkpoint/checkpoint.h"

namespace llavamini {
namespace {

constexpr char kProduct[] = "model.layers.3.mlp.down_proj.weight";

at::Tensor Take(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  const auto checkpoint = Checkpoint::Dummy();
  checkpoint->SetTarget(at::kCPU, dtype);
  return checkpoint->Take(name, shape);
}

TEST(DummyCheckpoint, GivesTheSameTensorOnEveryStart) {
  EXPECT_TRUE(Take(kProduct, {64, 256}).equal(Take(kProduct, {64, 256})));
  EXPECT_TRUE(
      Take(kProduct, {64, 256}, at::kBFloat16).equal(Take(kProduct, {64, 256}).to(at::kBFloat16)));
  EXPECT_FALSE(Take(kProduct, {64, 256}).equal(Take("another", {64, 256})));
  EXPECT_FALSE(Take(kProduct, {64, 256}).flatten().equal(Take(kProduct, {256, 64}).flatten()));
}

TEST(DummyCheckpoint, SpreadsValuesByTheirRole) {
  const struct {
    const char* name;
    std::vector<int64_t> shape;
    double mean, deviation;
  } cases[] = {
      {kProduct, {256, 1024}, 0, 1.0 / 32},
      {"model.vision_tower.patch_embedding.weight", {512, 3, 14, 14}, 0, 1 / std::sqrt(588.0)},
      {"model.layers.0.input_layernorm.weight", {65536}, 1, 0.1},
      {"model.layers.0.mlp.fc1.bias", {65536}, 0, 0.02},
      {"model.vision_tower.class_embedding", {65536}, 0, 0.02},
  };
  for (const auto& [name, shape, mean, deviation] : cases) {
    const at::Tensor values = Take(name, shape);
    EXPECT_NEAR(values.mean().item<double>(), mean, 0.02 * deviation) << name;
    EXPECT_NEAR(values.std().item<double>(), deviation, 0.01 * deviation) << name;
  }
}

TEST(DummyCheckpoint, KeepsActivationsFiniteThroughManyLayers) {
  at::Tensor x = Take("embed", {8, 256});
  for (int layer = 0; layer < 100; ++layer) {
    x = x + at::linear(at::silu(at::layer_norm(x, {256})),
                       Take("layers." + std::to_string(layer), {256, 256}));
  }
  EXPECT_GT(x.abs().max().item<double>(), 0.1);
  EXPECT_LT(x.abs().max().item<double>(), 100);
}

TEST(DummyCheckpoint, HasEverythingAndCountsIt) {
  const auto checkpoint = Checkpoint::Dummy();
  EXPECT_TRUE(checkpoint->Has("lm_head.weight"));
  const at::Tensor stacked =
      checkpoint->TakeRows(std::vector<std::string>{"gate", "up"}, {3, 4}, {5});
  EXPECT_TRUE(stacked.equal(at::cat({Take("gate", {3, 5}), Take("up", {4, 5})})));
  checkpoint->Expect("not.used", {7});
  EXPECT_EQ(checkpoint->parameters(), 35);
  EXPECT_EQ(checkpoint->Finish(), absl::OkStatus());
}

TEST(DummyCheckpoint, IsTheSameOnEveryStartOfAGpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU";
  const auto take = [] {
    const auto checkpoint = Checkpoint::Dummy();
    checkpoint->SetTarget(at::Device(at::kCUDA, 0), at::kBFloat16);
    return checkpoint->Take(kProduct, {4096, 1024});
  };
  const at::Tensor values = take();
  EXPECT_TRUE(values.is_cuda());
  EXPECT_TRUE(values.equal(take()));
  EXPECT_NEAR(values.to(at::kFloat).std().item<double>(), 1.0 / 32, 1e-4);
}

}  // namespace
}  // namespace llavamini
