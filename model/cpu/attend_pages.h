// Attention of single rows over pages of keys and values, read where they lie. Called by the
// model's thread.
#pragma once

#include <ATen/ATen.h>

#include "model/ops.h"

namespace llavamini::ops::cpu {

// Whether heads of this size are served: whole vectors.
bool AttendsPages(const at::Tensor& qkv, const HeadShape& heads);

// As ops::AttendPages.
at::Tensor AttendPages(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged);

}  // namespace llavamini::ops::cpu
