#include "model/device.h"

#include <c10/util/Exception.h>

#include <new>

#include "absl/strings/str_cat.h"

#ifdef LLAVAMINI_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace llavamini {
namespace {

#ifdef LLAVAMINI_WITH_CUDA

// Empty when a GPU can be used, else why not.
std::string WhyNoGpu() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (devices == 0) return "no GPU was found";
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess)
    return "the GPU's properties cannot be read";
  if (properties.major < 8) {
    return absl::StrCat("the GPU ", properties.name, " has compute capability ", properties.major,
                        ".", properties.minor, ", 8.0 is the least");
  }
  return "";
}

#else

std::string WhyNoGpu() { return "this build has no CUDA kernels"; }

#endif

at::ScalarType DtypeOf(DtypeChoice choice, bool on_gpu) {
  switch (choice) {
    case DtypeChoice::kFloat32:
      return at::kFloat;
    case DtypeChoice::kBfloat16:
      return at::kBFloat16;
    case DtypeChoice::kFloat16:
      return at::kHalf;
    case DtypeChoice::kAuto:
      break;
  }
  return on_gpu ? at::kBFloat16 : at::kFloat;
}

}  // namespace

absl::StatusOr<Placement> ChoosePlacement(const LoadOptions& options) {
  bool on_gpu = false;
  if (options.device != DeviceKind::kCpu) {
    const std::string reason = WhyNoGpu();
    on_gpu = reason.empty();
    if (!on_gpu && options.device == DeviceKind::kCuda) {
      return absl::FailedPreconditionError(absl::StrCat("device cuda: ", reason));
    }
  }
  const at::ScalarType dtype = DtypeOf(options.dtype, on_gpu);
  if (!on_gpu && dtype == at::kHalf) {
    return absl::FailedPreconditionError(
        "dtype float16 needs a GPU; on the CPU float32 and bfloat16 are served");
  }
  return Placement{on_gpu ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU), dtype};
}

std::string DeviceName(const at::Device& device) {
#ifdef LLAVAMINI_WITH_CUDA
  cudaDeviceProp properties;
  if (device.is_cuda() && cudaGetDeviceProperties(&properties, device.index()) == cudaSuccess) {
    return properties.name;
  }
#endif
  return device.is_cuda() ? "cuda" : "cpu";
}

std::string DtypeName(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return "bfloat16";
  return dtype == at::kHalf ? "float16" : "float32";
}

absl::Status StatusOfTorchError(const std::exception& error) {
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
      dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return absl::ResourceExhaustedError("out of memory in a step of the model");
  }
#ifdef LLAVAMINI_WITH_CUDA
  // A sticky error stays with the context: every later call would fail as well.
  if (cudaPeekAtLastError() != cudaSuccess && cudaDeviceSynchronize() != cudaSuccess) {
    return absl::AbortedError(
        absl::StrCat("the GPU failed: ", cudaGetErrorString(cudaGetLastError())));
  }
#endif
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return absl::InternalError(torch_error != nullptr ? torch_error->what_without_backtrace()
                                                    : error.what());
}

}  // namespace llavamini
