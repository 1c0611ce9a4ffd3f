#include "model/kv_cache.h"

namespace llavamini {

KvCache::KvCache(const ModelConfig& config, int32_t pages, const at::TensorOptions& options) {
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (auto* tensors : {&keys, &values}) {
      // Zeros, not garbage: rows beyond a sequence's length are masked, and 0 · NaN would not be.
      tensors->push_back(
          at::zeros({pages, kPageTokens, config.num_key_value_heads, config.head_dim}, options));
    }
  }
}

void AppendSlots(absl::Span<const int32_t> pages, int64_t first, int64_t count,
                 std::vector<int64_t>& slots) {
  for (int64_t row = first; row < first + count; ++row) {
    slots.push_back(int64_t{pages.at(row / kPageTokens)} * kPageTokens + row % kPageTokens);
  }
}

}  // namespace llavamini
