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

}  // namespace llavamini::kernels
