#include "model/kv_cache.h"

#include "model/llama.h"
#include "model/upload.h"

namespace llavamini {

KvCache::KvCache(const ModelConfig& config, int32_t pages, int32_t places,
                 int64_t max_context_tokens, const at::TensorOptions& options) {
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (auto* tensors : {&keys, &values}) {
      // Zeros, not garbage: rows beyond a sequence's length are masked, and 0 · NaN would not be.
      tensors->push_back(
          at::zeros({pages, config.num_key_value_heads, kPageTokens, config.head_dim}, options));
    }
  }
  const int64_t most = (max_context_tokens + kPageTokens - 1) / kPageTokens;
  page_table = at::zeros({places, most}, options.dtype(at::kInt));
  workspace =
      at::zeros({ops::AttendWorkspace(places, HeadShapeOf(config))}, options.dtype(at::kFloat));
}

void KvCache::SetPages(Place place, absl::Span<const int32_t> pages) {
  TORCH_CHECK(static_cast<int64_t>(pages.size()) <= page_table.size(1), "pages of one context");
  page_table[place]
      .narrow(0, 0, static_cast<int64_t>(pages.size()))
      .copy_(Upload(pages.data(), pages.size(), page_table.device()), /*non_blocking=*/true);
}

}  // namespace llavamini
