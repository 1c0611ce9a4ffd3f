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

// Whether the current device knows it, and clusters of blocks. Asked once.
bool HasProgrammaticLaunch();

// Whether it is one of sm_90, whose own matrix instructions no other has. Asked once.
bool IsSm90();

struct Grid {
  dim3 blocks;
  unsigned threads;
  size_t shared_bytes;
  unsigned cluster = 1;  // adjacent blocks that see each other's shared memory
};

// How many clusters of such a grid run at the same time on the current device; the kernel may have that much shared memory from here on.
// 0 where it cannot run.
int MostClusters(const void* kernel, const Grid& grid);

template <typename... Parameters, typename... Arguments>
void LaunchDependent(void (*kernel)(Parameters...), const Grid& grid, cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {grid.cluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(grid.threads);
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = HasProgrammaticLaunch() ? (grid.cluster > 1 ? 2 : 1) : 0;
  cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

template <typename... Parameters, typename... Arguments>
void LaunchDependent(void (*kernel)(Parameters...), dim3 blocks, unsigned threads, size_t shared_bytes, cudaStream_t stream,
                     const Arguments&... arguments) {
  LaunchDependent(kernel, Grid{blocks, threads, shared_bytes}, stream, arguments...);
}

}  // namespace llavamini::kernels
