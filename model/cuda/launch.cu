#include "model/cuda/launch.cuh"

namespace llavamini::kernels {

namespace {

// Ten times the major version, and the minor one; 0 where there is no device.
int ComputeCapability() {
  static const int known = [] {
    int device = 0, major = 0, minor = 0;
    const bool found = cudaGetDevice(&device) == cudaSuccess &&
                       cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
                       cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
    return found ? 10 * major + minor : 0;
  }();
  return known;
}

}  // namespace

bool HasProgrammaticLaunch() { return ComputeCapability() >= 90; }

bool IsSm90() { return ComputeCapability() == 90; }

int MostClusters(const void* kernel, const Grid& grid) {
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {grid.cluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(grid.threads);
  config.dynamicSmemBytes = grid.shared_bytes;
  config.attrs = &cluster;
  config.numAttrs = 1;
  const int shared_bytes = static_cast<int>(grid.shared_bytes);
  int count = 0;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes) != cudaSuccess ||
      cudaOccupancyMaxActiveClusters(&count, kernel, &config) != cudaSuccess) {
    cudaGetLastError();  // not for whoever asks next
    return 0;
  }
  return count;
}

}  // namespace llavamini::kernels
