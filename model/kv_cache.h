// The language model's keys and values in pages of kPageTokens rows, sized once at start. Owned and
// used by the engine's thread.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "absl/types/span.h"
#include "model/checkpoint/model_config.h"
#include "model/model.h"

namespace llavamini {

struct KvCache {
  KvCache(const ModelConfig& config, int32_t pages, const at::TensorOptions& options);

  // Per layer: [pages, kPageTokens, Hkv, d].
  std::vector<at::Tensor> keys;
  std::vector<at::Tensor> values;
};

// Where rows first … first + count - 1 of a sequence lie: page · kPageTokens + row, appended to
// `slots`.
void AppendSlots(absl::Span<const int32_t> pages, int64_t first, int64_t count,
                 std::vector<int64_t>& slots);

}  // namespace llavamini
