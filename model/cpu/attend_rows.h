// Attention of many rows among themselves: CLIP's, pre-fusion's and a prompt's. Called by the
// model's thread.
#pragma once

#include <ATen/ATen.h>

#include "model/ops.h"

namespace llavamini::ops::cpu {

// Whether heads of this size are served: whole vectors, an element beside the next.
bool AttendsRows(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// As ops::AttendSegments.
at::Tensor AttendSegments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const Segments& segments, bool causal);

}  // namespace llavamini::ops::cpu
