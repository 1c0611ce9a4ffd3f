// LLaVA-Mini: the composition, and the only header of the mathematics that the server needs.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "model/checkpoint/model_config.h"
#include "model/model.h"

namespace llavamini {

enum class DeviceKind { kAuto, kCpu, kCuda };
enum class DtypeChoice { kAuto, kFloat32, kBfloat16, kFloat16 };

struct LoadOptions {
  std::filesystem::path folder;
  std::optional<std::filesystem::path> vision_tower;  // CLIP in a folder of its own
  DeviceKind device = DeviceKind::kAuto;              // auto: CUDA where there is a GPU
  DtypeChoice dtype = DtypeChoice::kAuto;             // auto: float32 on the CPU, bfloat16 on a GPU
  int32_t kv_pages = 0;  // pages of the key-value cache, kPageTokens rows each
  int threads = 0;       // of the CPU path; 0: one per core
};

// Errors: INVALID_ARGUMENT names what is wrong with the checkpoint in one line;
// FAILED_PRECONDITION: the device cannot be used; RESOURCE_EXHAUSTED: too little memory.
absl::StatusOr<std::unique_ptr<Model>> LoadLlavaMini(const LoadOptions& options,
                                                     const ModelConfig& config);

}  // namespace llavamini
