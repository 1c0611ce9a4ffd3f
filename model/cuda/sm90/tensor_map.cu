#include "model/cuda/sm90/tensor_map.h"

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace llavamini::kernels {
namespace {

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                                 const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                 CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// The driver's, without linking to it. Asked once.
EncodeTiled Encode() {
  static const EncodeTiled known = [] {
    constexpr unsigned kSince = 12000;  // CUDA 12.0
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSince, cudaEnableDefault, &result);
    if (error != cudaSuccess) cudaGetLastError();  // not for whoever asks next
    const bool found = error == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return found ? reinterpret_cast<EncodeTiled>(function) : nullptr;
  }();
  return known;
}

// Dimensions from the innermost on; strides of all but that.
CUtensorMap Map(const MappedMatrix& matrix, cuuint32_t dimensions, const cuuint64_t* sizes, const cuuint64_t* strides,
                const cuuint32_t* box) {
  const auto type = matrix.element_bytes == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_UINT16;
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      Encode()(&map, type, dimensions, const_cast<void*>(matrix.data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
               CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw std::runtime_error("cuTensorMapEncodeTiled: " + std::to_string(static_cast<int>(result)));
  return map;
}

cuuint32_t BoxWidth(const MappedMatrix& matrix) { return static_cast<cuuint32_t>(kBoxBytes / matrix.element_bytes); }

}  // namespace

bool HasTensorMaps() { return Encode() != nullptr; }

CUtensorMap MapMatrix(const MappedMatrix& matrix, int box_rows) {
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(matrix.width), static_cast<cuuint64_t>(matrix.height)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(matrix.stride)};
  const cuuint32_t box[2] = {BoxWidth(matrix), static_cast<cuuint32_t>(box_rows)};
  return Map(matrix, 2, sizes, strides, box);
}

CUtensorMap MapPairs(const MappedMatrix& matrix, bool halves, int box_pairs) {
  const cuuint64_t pairs = static_cast<cuuint64_t>(matrix.height) / 2, stride = static_cast<cuuint64_t>(matrix.stride);
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(matrix.width), pairs, 2};
  const cuuint64_t strides[2] = {halves ? stride : 2 * stride, halves ? pairs * stride : stride};
  const cuuint32_t box[3] = {BoxWidth(matrix), static_cast<cuuint32_t>(box_pairs), 2};
  return Map(matrix, 3, sizes, strides, box);
}

CUtensorMap MapSixteens(const MappedMatrix& matrix, bool halves, int box_sixteens) {
  const cuuint64_t height = static_cast<cuuint64_t>(matrix.height), stride = static_cast<cuuint64_t>(matrix.stride);
  const cuuint64_t sizes[4] = {static_cast<cuuint64_t>(matrix.width), 8, 2, height / 16};
  const cuuint64_t strides[3] = {stride, (halves ? height / 2 : 8) * stride, (halves ? 8 : 16) * stride};
  const cuuint32_t box[4] = {BoxWidth(matrix), 8, 2, static_cast<cuuint32_t>(box_sixteens)};
  return Map(matrix, 4, sizes, strides, box);
}

}  // namespace llavamini::kernels
