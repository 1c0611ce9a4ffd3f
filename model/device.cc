#include "model/device.h"

#include <c10/util/Exception.h>

#include <new>

#include "absl/strings/str_cat.h"

#ifdef LLAVAMINI_WITH_CUDA
#include <ATen/detail/CUDAHooksInterface.h>
#include <cuda_runtime_api.h>
#endif

namespace llavamini {
namespace {

#ifdef LLAVAMINI_WITH_CUDA

GpuFacts ReadGpuFacts() {
  GpuFacts facts;
  cudaDriverGetVersion(&facts.driver);
  cudaRuntimeGetVersion(&facts.runtime);
  const cudaError_t error = cudaGetDeviceCount(&facts.devices);
  if (error != cudaSuccess && error != cudaErrorNoDevice) facts.error = cudaGetErrorString(error);
  if (error != cudaSuccess || facts.devices == 0) return facts;
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    facts.error = "the GPU's properties cannot be read";
    return facts;
  }
  facts.name = properties.name;
  facts.major = properties.major;
  facts.minor = properties.minor;
  return facts;
}

std::string WhyNoGpu(bool fp8) { return WhyRefused(ReadGpuFacts(), fp8); }

absl::Status ReadMemory(const at::Device& device, int64_t& free_bytes, int64_t& total_bytes) {
  size_t free = 0, total = 0;
  cudaError_t error = cudaSetDevice(device.index());
  if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
  if (error != cudaSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat("device cuda: the memory cannot be asked for: ", cudaGetErrorString(error)));
  }
  free_bytes = static_cast<int64_t>(free);
  total_bytes = static_cast<int64_t>(total);
  return absl::OkStatus();
}

// A sticky error stays with the context, so that every later call fails as well; LibTorch has taken
// it from CUDA's memory of the last error by now. Empty: there is none.
std::string WhyLost() {
  if (!at::hasCUDA() || !at::detail::getCUDAHooks().hasPrimaryContext(0)) return "";
  const cudaError_t error = cudaDeviceSynchronize();
  if (error == cudaSuccess || error == cudaErrorStreamCaptureUnsupported) return "";
  return cudaDeviceSynchronize() == error ? cudaGetErrorString(error) : "";
}

#else

std::string WhyLost() { return ""; }

std::string WhyNoGpu(bool) { return "this build has no CUDA kernels"; }

absl::Status ReadMemory(const at::Device&, int64_t&, int64_t&) {
  return absl::InternalError("this build has no CUDA kernels");
}

#endif

// 13000 is 13.0.
std::string CudaVersion(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

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

std::string WhyRefused(const GpuFacts& gpu, bool fp8) {
  if (gpu.driver == 0) return "no NVIDIA driver was found";
  if (gpu.driver < gpu.runtime) {
    return absl::StrCat("the NVIDIA driver serves CUDA ", CudaVersion(gpu.driver),
                        ", this program needs ", CudaVersion(gpu.runtime));
  }
  if (!gpu.error.empty()) return gpu.error;
  if (gpu.devices == 0) return "no GPU was found";
  const auto too_old = [&gpu](const char* what, const char* least) {
    return absl::StrCat("the GPU ", gpu.name, " has compute capability ", gpu.major, ".", gpu.minor,
                        ", ", least, " is the least", what);
  };
  if (gpu.major < 8) return too_old("", "8.0");
  if (fp8 && gpu.major == 8 && gpu.minor < 9) return too_old(" for quantization fp8", "8.9");
  return "";
}

absl::StatusOr<Placement> ChoosePlacement(const LoadOptions& options) {
  const bool fp8 = options.quantization == Quantization::kFp8;
  bool on_gpu = false;
  if (options.device != DeviceKind::kCpu) {
    const std::string reason = WhyNoGpu(fp8);
    on_gpu = reason.empty();
    if (!on_gpu && options.device == DeviceKind::kCuda) {
      return absl::FailedPreconditionError(absl::StrCat("device cuda: ", reason));
    }
  }
  if (!on_gpu && fp8) {
    return absl::FailedPreconditionError("quantization fp8 needs a GPU of compute capability 8.9");
  }
  const at::ScalarType dtype = DtypeOf(options.dtype, on_gpu);
  if (!on_gpu && dtype == at::kHalf) {
    return absl::FailedPreconditionError(
        "dtype float16 needs a GPU; on the CPU float32 and bfloat16 are served");
  }
  return Placement{on_gpu ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU), dtype};
}

absl::StatusOr<MemoryPlan> PlanDeviceMemory(const LoadOptions& options, const ModelConfig& config,
                                            const Placement& placement) {
  MemoryRequest request;
  request.element_bytes = static_cast<int64_t>(at::elementSize(placement.dtype));
  request.fp8 = options.quantization == Quantization::kFp8;
  request.max_running = options.max_running;
  request.max_context_tokens = options.max_context_tokens;
  request.max_images_per_batch = options.max_images_per_batch;
  request.max_step_rows = options.max_step_rows;
  request.kv_pages = options.kv_pages;
  request.image_cache_bytes = options.image_cache_bytes;
  if (placement.device.is_cpu()) return PlanCpuMemory(config, request);
  int64_t total_bytes = 0;
  const absl::Status read = ReadMemory(placement.device, request.free_bytes, total_bytes);
  if (!read.ok()) return read;
  request.limit_bytes =
      options.device_memory_limit_bytes > 0
          ? options.device_memory_limit_bytes
          : static_cast<int64_t>(options.gpu_memory_utilization * static_cast<double>(total_bytes));
  return PlanMemory(config, request);
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
  if (const std::string lost = WhyLost(); !lost.empty()) {
    return absl::AbortedError(absl::StrCat("the GPU failed: ", lost));
  }
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return absl::InternalError(torch_error != nullptr ? torch_error->what_without_backtrace()
                                                    : error.what());
}

}  // namespace llavamini
