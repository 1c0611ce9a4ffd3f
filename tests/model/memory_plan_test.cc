// The memory plan by table: the published 8B shapes on cards of several sizes, and the demo
// checkpoint's own files.
#include "model/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "model/checkpoint/shards.h"

namespace llavamini {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;

ModelConfig Config(const std::string& folder) {
  const absl::StatusOr<ModelConfig> config =
      LoadModelConfig(std::filesystem::path(LLAVAMINI_SOURCE_DIR) / folder);
  EXPECT_EQ(config.status(), absl::OkStatus());
  return config.value_or(ModelConfig{});
}

ModelConfig Published() { return Config("tests/performance/llava-mini-8b"); }

MemoryRequest Within(int64_t limit_gib) {
  MemoryRequest request;
  request.image_cache_bytes = 512 * kMiB;
  request.limit_bytes = limit_gib * kGiB;
  request.free_bytes = 140 * kGiB;
  return request;
}

int64_t Sum(const MemoryPlan& plan) {
  return plan.weights + plan.activations + plan.visual_slots + plan.overhead + plan.image_cache +
         plan.kv_cache;
}

MemoryPlan Plan(const ModelConfig& config, const MemoryRequest& request) {
  const absl::StatusOr<MemoryPlan> plan = PlanMemory(config, request);
  EXPECT_EQ(plan.status(), absl::OkStatus());
  return plan.value_or(MemoryPlan{});
}

TEST(MemoryPlan, CountsTheWeightsThatTheDemoCheckpointHolds) {
  const auto files = OpenShards(std::filesystem::path(LLAVAMINI_SOURCE_DIR) / "demo/checkpoint");
  ASSERT_EQ(files.status(), absl::OkStatus());
  int64_t elements = 0;
  for (const TensorInfo& tensor : files->at(0).tensors()) {
    const bool behind_the_features = tensor.name.find(".encoder.layers.6.") != std::string::npos ||
                                     tensor.name.find("post_layernorm") != std::string::npos;
    if (!behind_the_features) elements += tensor.elements;
  }
  EXPECT_EQ(WeightElements(Config("demo/checkpoint")), elements);
}

TEST(MemoryPlan, KnowsThePublishedShapes) {
  const ModelConfig config = Published();
  EXPECT_EQ(PageBytes(config, 2), 16 * 2 * 32 * 8 * 128 * 2);
  EXPECT_EQ(EncodedImageBytes(config, 1, 2), 4 * 577 * 2 * 8 * 128 * 2 + 4096 * 2);
  EXPECT_EQ(EncodedImageBytes(config, 2, 2), 4 * 2881 * 2 * 8 * 128 * 2 + 4096 * 2);
  const int64_t bf16 = WeightBytes(config, 2, /*fp8=*/false);
  EXPECT_NEAR(static_cast<double>(bf16) / kGiB, 17.2, 0.05);
  const int64_t products = 36 * int64_t{218'103'808};
  const int64_t scales = 36 * int64_t{4096 + 2048 + 4096 + 28672 + 4096} * 4;
  EXPECT_EQ(WeightBytes(config, 2, /*fp8=*/true), bf16 - products + scales);
}

TEST(MemoryPlan, ServesSixtyFourChatsWithin24GiB) {
  const MemoryPlan plan = Plan(Published(), Within(24));
  EXPECT_GE(plan.kv_pages, 64 * 512 / 16);
  EXPECT_LE(Sum(plan), 24 * kGiB);
}

TEST(MemoryPlan, HoldsTenThousandFramesWithin21AndAHalfGiB) {
  MemoryRequest request = Within(0);
  request.limit_bytes = 21 * kGiB + kGiB / 2;
  request.max_context_tokens = 10'304;
  request.max_images_per_batch = 4;
  const MemoryPlan plan = Plan(Published(), request);
  EXPECT_GE(plan.kv_pages * kPageTokens, 10'304);
  EXPECT_LE(Sum(plan), request.limit_bytes);
}

TEST(MemoryPlan, TakesNoMoreThanCanBeUsed) {
  const MemoryPlan plan = Plan(Published(), Within(125));
  EXPECT_EQ(plan.kv_pages, 64 * 4096 / 16);
  EXPECT_EQ(plan.image_cache, 512 * kMiB);
}

TEST(MemoryPlan, NeverExceedsWhatThereIsAndKeepsItsMinimums) {
  int fits = 0;
  for (const bool fp8 : {false, true}) {
    for (const int64_t context : {1024, 4096, 32768}) {
      for (const int64_t running : {1, 64, 256}) {
        for (int64_t limit = 8; limit <= 140; limit += 3) {
          MemoryRequest request = Within(limit);
          request.fp8 = fp8;
          request.max_context_tokens = context;
          request.max_running = running;
          request.free_bytes = 80 * kGiB;
          const absl::StatusOr<MemoryPlan> plan = PlanMemory(Published(), request);
          if (!plan.ok()) continue;
          ++fits;
          EXPECT_LE(Sum(*plan), std::min(limit, int64_t{80}) * kGiB);
          EXPECT_GE(plan->kv_pages, context / 16);
          EXPECT_LE(plan->kv_pages, running * context / 16);
          EXPECT_GE(plan->image_cache, 8 * EncodedImageBytes(Published(), 1, 2));
          EXPECT_LE(plan->image_cache, request.image_cache_bytes);
        }
      }
    }
  }
  EXPECT_GT(fits, 500);
}

TEST(MemoryPlan, MakesThePagesThatAreAskedFor) {
  MemoryRequest request = Within(40);
  request.kv_pages = 1000;
  EXPECT_EQ(Plan(Published(), request).kv_pages, 1000);
  request.kv_pages = 3;  // less than one context
  EXPECT_EQ(Plan(Published(), request).kv_pages, 4096 / 16);
}

TEST(MemoryPlan, LetsTheImageCacheGiveWay) {
  MemoryRequest request = Within(24);
  EXPECT_LT(Plan(Published(), request).image_cache, 100 * kMiB);
  request.max_running = 16;
  EXPECT_EQ(Plan(Published(), request).image_cache, 512 * kMiB);
  request.image_cache_bytes = 0;
  EXPECT_EQ(Plan(Published(), request).image_cache, 0);
}

TEST(MemoryPlan, Fp8FitsWhereBf16DoesNot) {
  MemoryRequest request = Within(16);
  EXPECT_EQ(PlanMemory(Published(), request).status().code(), absl::StatusCode::kResourceExhausted);
  request.fp8 = true;
  EXPECT_EQ(PlanMemory(Published(), request).status(), absl::OkStatus());
}

TEST(MemoryPlan, RefusesInOneLineWithTheFigures) {
  MemoryRequest limited = Within(16), occupied = Within(24), pages = Within(24);
  occupied.free_bytes = 3 * kGiB;
  pages.kv_pages = 10'000;
  const std::pair<MemoryRequest, std::vector<std::string>> cases[] = {
      {limited, {"weights 17.2 GiB, ", "activations ", "16.0 GiB available"}},
      {occupied, {"weights 17.2 GiB, ", "3.0 GiB available"}},
      {pages, {"key-value cache 19.5 GiB, weights 17.2 GiB", "24.0 GiB available"}}};
  for (const auto& [request, expected] : cases) {
    const absl::Status status = PlanMemory(Published(), request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    const std::string message(status.message());
    for (const std::string& part : expected) EXPECT_THAT(message, HasSubstr(part));
    EXPECT_THAT(message, AllOf(HasSubstr("too little GPU memory"), HasSubstr(" GiB needed"),
                               Not(HasSubstr("\n"))));
  }
}

TEST(MemoryPlan, GivesACpuWhatItIsAskedFor) {
  const ModelConfig demo = Config("demo/checkpoint");
  MemoryRequest request;
  request.element_bytes = 4;
  request.image_cache_bytes = 7 * kMiB;
  const MemoryPlan standard = PlanCpuMemory(demo, request);
  EXPECT_EQ(standard.kv_pages, 65536 / 16);
  EXPECT_EQ(standard.kv_cache, 65536 * 2 * 3 * 4 * 32 * 4);
  EXPECT_EQ(standard.image_cache, 7 * kMiB);
  EXPECT_EQ(standard.weights, 4 * WeightElements(demo));
  request.kv_pages = 10;
  request.max_context_tokens = 100;
  EXPECT_EQ(PlanCpuMemory(demo, request).kv_pages, 10);
  request.max_context_tokens = 170;
  EXPECT_EQ(PlanCpuMemory(demo, request).kv_pages, 11);
}

TEST(MemoryPlan, IsDescribedInOneLine) {
  MemoryPlan plan;
  plan.weights = 17 * kGiB + kGiB / 2;
  plan.kv_cache = 2 * kGiB;
  plan.kv_pages = 1024;
  plan.image_cache = 512 * kMiB;
  EXPECT_EQ(DescribePlan(plan),
            "weights 17.5 GiB, key-value cache 2.0 GiB (16384 tokens), image cache up to 512 MiB");
  plan.activations = 600 * kMiB;
  plan.visual_slots = 144 * kMiB;
  plan.overhead = 1088 * kMiB;
  plan.available = 24 * kGiB;
  EXPECT_EQ(DescribePlan(plan),
            "weights 17.5 GiB, key-value cache 2.0 GiB (16384 tokens), image cache up to 512 MiB, "
            "activations 600 MiB, images in flight 144 MiB, CUDA 1.1 GiB; 21.8 GiB of 24.0 GiB");
}

}  // namespace
}  // namespace llavamini
