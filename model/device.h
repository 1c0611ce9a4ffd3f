// Where the model runs, and what LibTorch's failures mean.
#pragma once

#include <ATen/ATen.h>

#include <exception>
#include <string>

#include "absl/status/statusor.h"
#include "model/llava_mini.h"
#include "model/memory_plan.h"

namespace llavamini {

struct Placement {
  at::Device device;
  at::ScalarType dtype;
};

// What is known of the first GPU before it is used. Versions as CUDA counts them: 13000 is 13.0.
struct GpuFacts {
  int driver = 0;  // newest CUDA that the driver serves; 0: no driver
  int runtime = 0;
  int devices = 0;
  std::string error;  // why CUDA does not start; empty: it does
  std::string name;
  int major = 0, minor = 0;  // compute capability
};

// Empty when the GPU can be used, else why not, in one line. fp8: with quantized weights.
std::string WhyRefused(const GpuFacts& gpu, bool fp8);

// The device and dtype of the options; FAILED_PRECONDITION says in one line why a device cannot be
// used.
absl::StatusOr<Placement> ChoosePlacement(const LoadOptions& options);

// What the options' limits make of the placement's memory; see memory_plan.h.
absl::StatusOr<MemoryPlan> PlanDeviceMemory(const LoadOptions& options, const ModelConfig& config,
                                            const Placement& placement);

std::string DeviceName(const at::Device& device);
std::string DtypeName(at::ScalarType dtype);

// RESOURCE_EXHAUSTED: out of memory; ABORTED: the device is lost; INTERNAL: anything else.
absl::Status StatusOfTorchError(const std::exception& error);

}  // namespace llavamini
