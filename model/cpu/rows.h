// Loops over rows that ATen has only as chains of operators, each a call and a pass over memory.
// All take float32 and bfloat16, compute in float32, and equal their plain twins (model/ops.h).
#pragma once

#include <ATen/ATen.h>

#include "model/ops.h"

namespace llavamini::ops::cpu {

// Whether these loops take rows of x: on a CPU, of a known dtype, in whole vectors of `width`.
bool TakesRows(const at::Tensor& x, int64_t width);

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor SiluMultiply(const at::Tensor& gate_up);
void QuickGelu(at::Tensor& x);
void Rotate(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
            const at::Tensor& positions);
void RotateKeep(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, const KeptRows& kept);
void RotateAppend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged);

}  // namespace llavamini::ops::cpu
