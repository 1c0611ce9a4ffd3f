// LLaVA-Mini: the composition, and the only header of the mathematics that the server needs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "model/checkpoint/model_config.h"
#include "model/model.h"

namespace llavamini {

enum class DeviceKind { kAuto, kCpu, kCuda };
enum class DtypeChoice { kAuto, kFloat32, kBfloat16, kFloat16 };
enum class Quantization { kNone, kFp8 };

// Everything that is sized at start is sized from these.
struct LoadOptions {
  std::filesystem::path folder;
  std::optional<std::filesystem::path> vision_tower;  // CLIP in a folder of its own
  DeviceKind device = DeviceKind::kAuto;              // auto: CUDA where there is a GPU
  DtypeChoice dtype = DtypeChoice::kAuto;             // auto: float32 on the CPU, bfloat16 on a GPU
  int threads = 0;                                    // of the CPU path; 0: one per core
  bool dummy_weights = false;  // made up from the configuration; the folder has none
  Quantization quantization = Quantization::kNone;  // of the LLaMA blocks' products; a GPU's only
  bool deterministic = false;  // an answer's bits do not depend on what else is in its batches

  int32_t max_running = 64;           // sequences that run together: the model's places
  int64_t max_context_tokens = 4096;  // rows of the longest prompt and answer
  int32_t max_images_per_batch = 8;
  int64_t max_step_rows = 1024;  // of one step of the model, its first prompt excepted

  int32_t kv_pages = 0;                   // of kPageTokens rows; 0: as PlanDeviceMemory gives
  int64_t device_memory_limit_bytes = 0;  // 0: gpu_memory_utilization of the GPU's memory
  double gpu_memory_utilization = 0.9;
  int64_t image_cache_bytes = 0;  // wanted for encoded images on the device; the plan may give less
  int64_t image_cache_host_bytes = 0;  // in the host's memory, for what falls out of a GPU's

  std::filesystem::path tuning_cache;  // keeps the products' choices between starts; empty: none
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress;  // of the weights
};

// Errors: INVALID_ARGUMENT names what is wrong with the checkpoint in one line;
// FAILED_PRECONDITION: the device cannot be used; RESOURCE_EXHAUSTED: too little memory.
absl::StatusOr<std::unique_ptr<Model>> LoadLlavaMini(const LoadOptions& options,
                                                     const ModelConfig& config);

}  // namespace llavamini
