// The kernels' name of a tensor's element type.
#pragma once

#include <ATen/ATen.h>

#include "model/cuda/kernels.h"

namespace llavamini {

inline kernels::Element ElementOf(at::ScalarType dtype) {
  if (dtype == at::kFloat) return kernels::Element::kFloat32;
  return dtype == at::kHalf ? kernels::Element::kFloat16 : kernels::Element::kBfloat16;
}

}  // namespace llavamini
