// Which GPUs are refused, and why.
#include "model/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>

namespace llavamini {
namespace {

using testing::HasSubstr;

GpuFacts Hopper() { return {13000, 13000, 1, "", "NVIDIA H200", 9, 0}; }

TEST(Device, SaysInOneLineWhyAGpuIsRefused) {
  GpuFacts none = Hopper(), old_driver = Hopper(), no_driver = Hopper(), broken = Hopper(),
           old_gpu = Hopper(), ampere = Hopper();
  none.devices = 0;
  old_driver.driver = 12040;
  old_driver.error = "CUDA driver version is insufficient for CUDA runtime version";
  no_driver.driver = 0;
  broken.error = "system not yet initialized";
  old_gpu = {13000, 13000, 1, "", "Tesla V100", 7, 0};
  ampere = {13000, 13000, 1, "", "NVIDIA A100", 8, 0};
  const struct {
    GpuFacts gpu;
    bool fp8;
    std::string reason;
  } cases[] = {
      {Hopper(), false, ""},
      {Hopper(), true, ""},
      {none, false, "no GPU was found"},
      {no_driver, false, "no NVIDIA driver was found"},
      {old_driver, false, "the NVIDIA driver serves CUDA 12.4, this program needs 13.0"},
      {broken, false, "system not yet initialized"},
      {old_gpu, false, "the GPU Tesla V100 has compute capability 7.0, 8.0 is the least"},
      {ampere, false, ""},
      {ampere, true,
       "the GPU NVIDIA A100 has compute capability 8.0, 8.9 is the least for quantization fp8"},
      {{13010, 13000, 1, "", "NVIDIA L4", 8, 9}, true, ""},
  };
  for (const auto& [gpu, fp8, reason] : cases) EXPECT_EQ(WhyRefused(gpu, fp8), reason);
}

TEST(Device, RefusesWhatACpuCannotDo) {
  LoadOptions options;
  options.device = DeviceKind::kCpu;
  options.quantization = Quantization::kFp8;
  const absl::Status fp8 = ChoosePlacement(options).status();
  EXPECT_EQ(fp8.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(fp8.message()), HasSubstr("quantization fp8 needs a GPU"));
  options.quantization = Quantization::kNone;
  options.dtype = DtypeChoice::kFloat16;
  const absl::Status half = ChoosePlacement(options).status();
  EXPECT_EQ(half.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(half.message()), HasSubstr("float16 needs a GPU"));
}

TEST(Device, KnowsWhatAFailureMeans) {
  EXPECT_EQ(StatusOfTorchError(std::bad_alloc()).code(), absl::StatusCode::kResourceExhausted);
  const absl::Status other = StatusOfTorchError(std::runtime_error("why"));
  EXPECT_EQ(other.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(std::string(other.message()), "why");
}

TEST(Device, PlansForACpuWithoutALimit) {
  ModelConfig config;
  config.num_hidden_layers = config.num_attention_heads = config.num_key_value_heads = 1;
  config.head_dim = 8;
  LoadOptions options;
  options.device = DeviceKind::kCpu;
  options.device_memory_limit_bytes = 1;
  options.kv_pages = 1000;
  options.image_cache_bytes = 12345;
  const auto placement = ChoosePlacement(options);
  ASSERT_EQ(placement.status(), absl::OkStatus());
  const auto plan = PlanDeviceMemory(options, config, *placement);
  ASSERT_EQ(plan.status(), absl::OkStatus());
  EXPECT_EQ(plan->kv_pages, 1000);
  EXPECT_EQ(plan->image_cache, 12345);
}

}  // namespace
}  // namespace llavamini
