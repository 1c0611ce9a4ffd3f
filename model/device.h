// Where the model runs, and what LibTorch's failures mean.
#pragma once

#include <ATen/ATen.h>

#include <exception>
#include <string>

#include "absl/status/statusor.h"
#include "model/llava_mini.h"

namespace llavamini {

struct Placement {
  at::Device device;
  at::ScalarType dtype;
};

// The device and dtype of the options; FAILED_PRECONDITION says in one line why a device cannot be
// used.
absl::StatusOr<Placement> ChoosePlacement(const LoadOptions& options);

std::string DeviceName(const at::Device& device);
std::string DtypeName(at::ScalarType dtype);

// RESOURCE_EXHAUSTED: out of memory; ABORTED: the device is lost; INTERNAL: anything else.
absl::Status StatusOfTorchError(const std::exception& error);

}  // namespace llavamini
