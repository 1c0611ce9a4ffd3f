// Launching with programmatic dependence (sm_90): a kernel may start while the one before it in the stream still runs, does what does
// not depend on it (reads weights), and waits with AwaitEarlierKernels() before it touches anything else. Kernels without it, and GPUs
// before sm_90, run one after another.
#pragma once

#include <cuda_runtime_api.h>

namespace llavamini::kernels {

__device__ inline void AwaitEarlierKernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel of the stream may start as soon as every block has said so.
__device__ inline void LetNextKernelStart() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Whether the current device knows it. Asked once.
bool HasProgrammaticLaunch();

template <typename... Parameters, typename... Arguments>
void LaunchDependent(void (*kernel)(Parameters...), dim3 grid, unsigned threads, size_t shared_bytes, cudaStream_t stream,
                     Arguments... arguments) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = HasProgrammaticLaunch() ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

}  // namespace llavamini::kernels
