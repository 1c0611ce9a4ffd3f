#include "model/cuda/launch.cuh"

namespace llavamini::kernels {

bool HasProgrammaticLaunch() {
  static const bool known = [] {
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 9;
  }();
  return known;
}

}  // namespace llavamini::kernels
