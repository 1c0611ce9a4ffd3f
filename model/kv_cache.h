// The language model's keys and values in pages of kPageTokens rows, and the pages that each place
// has; sized once at start. Owned and used by the thread that owns the model.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "absl/types/span.h"
#include "model/checkpoint/model_config.h"
#include "model/model.h"

namespace llavamini {

struct KvCache {
  KvCache(const ModelConfig& config, int32_t pages, int32_t places, int64_t max_context_tokens,
          const at::TensorOptions& options);

  // Gives a place its pages; what is in flight before this call still sees the earlier ones.
  void SetPages(Place place, absl::Span<const int32_t> pages);

  // Per layer: [pages, Hkv, kPageTokens, d].
  std::vector<at::Tensor> keys;
  std::vector<at::Tensor> values;
  at::Tensor page_table;  // int32 [places, most pages of a sequence]
  at::Tensor workspace;   // of ops::AttendPages
};

}  // namespace llavamini
