#include "model/language_model.h"

#include <algorithm>
#include <numeric>

#include "model/ops.h"

namespace llavamini {
namespace {

at::Tensor ToDevice(const std::vector<int64_t>& values, const at::Device& device) {
  return at::tensor(values, at::kLong).to(device);
}

// int32 [sequences, most pages]; rows beyond a sequence's own pages repeat page 0 and are masked by
// its length.
at::Tensor PageTable(absl::Span<const absl::Span<const int32_t>> pages,
                     absl::Span<const int32_t> positions, const at::Device& device) {
  const int32_t most = *std::max_element(positions.begin(), positions.end()) / kPageTokens + 1;
  at::Tensor table = at::zeros({static_cast<int64_t>(pages.size()), most}, at::kInt);
  for (size_t i = 0; i < pages.size(); ++i) {
    const int32_t used = positions[i] / kPageTokens + 1;
    std::copy_n(pages[i].begin(), used, table.data_ptr<int32_t>() + i * most);
  }
  return table.to(device);
}

}  // namespace

LanguageModel::LanguageModel(Checkpoint& checkpoint, const ModelConfig& config, const Rope& rope)
    : embedding_(
          checkpoint.Take("model.embed_tokens.weight", {config.vocab_size, config.hidden_size})),
      layers_(LoadLayers(checkpoint, "model.layers", config.num_hidden_layers, config)),
      norm_(LoadRmsNorm(checkpoint, "model.norm", config.hidden_size, config.rms_norm_eps)),
      rope_(rope) {
  head_ = checkpoint.Has("lm_head.weight")
              ? LoadLinear(checkpoint, "lm_head", config.hidden_size, config.vocab_size,
                           /*with_bias=*/false)
              : Linear{embedding_, {}};
}

at::Tensor LanguageModel::Embed(const at::Tensor& ids) const {
  return at::embedding(embedding_, ids);
}

at::Tensor LanguageModel::Head(const at::Tensor& x) const { return head_(norm_(x)); }

at::Tensor LanguageModel::Prefill(at::Tensor x, absl::Span<const int64_t> lengths,
                                  absl::Span<const absl::Span<const int32_t>> pages,
                                  KvCache& cache) const {
  std::vector<int64_t> positions, slots, last;
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (int64_t row = 0; row < lengths[i]; ++row) positions.push_back(row);
    AppendSlots(pages[i], 0, lengths[i], slots);
    last.push_back((last.empty() ? -1 : last.back()) + lengths[i]);
  }
  const RopeRows rope = rope_(ToDevice(positions, x.device()));
  const at::Tensor slot_rows = ToDevice(slots, x.device()), last_rows = ToDevice(last, x.device());
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const ProjectedRows rows = layers_[layer].Project(x, rope);
    ops::AppendToPages(rows.k, rows.v, slot_rows, cache.keys[layer], cache.values[layer]);
    std::vector<at::Tensor> attended;
    for (int64_t i = 0, first = 0; i < static_cast<int64_t>(lengths.size());
         first += lengths[i++]) {
      const auto own = [&](const at::Tensor& t) {
        return t.narrow(0, first, lengths[i]).unsqueeze(0);
      };
      attended.push_back(ops::AttendCausal(own(rows.q), own(rows.k), own(rows.v)).squeeze(0));
    }
    at::Tensor packed = at::cat(attended);
    if (layer + 1 == layers_.size()) {  // only the last rows lead to logits
      x = x.index_select(0, last_rows);
      packed = packed.index_select(0, last_rows);
    }
    x = layers_[layer].Finish(x, packed);
  }
  return Head(x);
}

at::Tensor LanguageModel::Decode(at::Tensor x, absl::Span<const int32_t> positions,
                                 absl::Span<const absl::Span<const int32_t>> pages,
                                 KvCache& cache) const {
  std::vector<int64_t> slots;
  for (size_t i = 0; i < positions.size(); ++i) AppendSlots(pages[i], positions[i], 1, slots);
  const at::Tensor position_rows = ToDevice({positions.begin(), positions.end()}, x.device());
  const RopeRows rope = rope_(position_rows);
  const at::Tensor lengths = (position_rows + 1).to(at::kInt);
  const at::Tensor slot_rows = ToDevice(slots, x.device());
  const at::Tensor table = PageTable(pages, positions, x.device());
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const ProjectedRows rows = layers_[layer].Project(x, rope);
    ops::AppendToPages(rows.k, rows.v, slot_rows, cache.keys[layer], cache.values[layer]);
    x = layers_[layer].Finish(
        x, ops::AttendPages(rows.q, cache.keys[layer], cache.values[layer], table, lengths));
  }
  return Head(x);
}

}  // namespace llavamini
