// Products with weights in the layout that oneDNN reads: MKL lays a weight out anew in each call,
// and on CPUs that are not Intel's runs at half of their speed. Called at load and by the model's
// thread.
#pragma once

#include <ATen/ATen.h>

#include "model/ops.h"

namespace llavamini::ops::cpu {

// The same weights with `packed` set, and `weight` let go where it is not needed beside it; as they
// are where this build or CPU has no such product.
Weights Packed(const Weights& w);

// ops::Linear of packed weights.
at::Tensor Linear(const at::Tensor& x, const Weights& w, const at::Tensor& residual);

// The rows of W as it was before packing.
at::Tensor Unpacked(const at::Tensor& packed);

}  // namespace llavamini::ops::cpu
