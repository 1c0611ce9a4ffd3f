#include "model/language_model.h"

#include <tuple>
#include <utility>

namespace llavamini {

LanguageModel::LanguageModel(Checkpoint& checkpoint, const ModelConfig& config, ops::RopeTable rope,
                             bool fp8)
    : heads_(HeadShapeOf(config)),
      rope_(std::move(rope)),
      embedding_(
          checkpoint.Take("model.embed_tokens.weight", {config.vocab_size, config.hidden_size})),
      layers_(LoadLayers(checkpoint, "model.layers", config.num_hidden_layers, config, fp8)),
      norm_(LoadRmsNorm(checkpoint, "model.norm", config.hidden_size, config.rms_norm_eps)) {
  head_ = checkpoint.Has("lm_head.weight")
              ? LoadLinear(checkpoint, "lm_head", config.hidden_size, config.vocab_size,
                           /*with_bias=*/false)
              : Linear{ops::Packed({embedding_})};
}

at::Tensor LanguageModel::Attend(at::Tensor& qkv, const StepRows& rows, const ops::PagedRows& paged,
                                 const at::Tensor& workspace) const {
  if (rows.attention == StepRows::Attention::kNewest) {
    return ops::AppendAttend(qkv, heads_, rope_, paged, workspace);
  }
  ops::RotateAppend(qkv, heads_, rope_, paged);
  if (rows.attention == StepRows::Attention::kPages) {
    if (rows.newest_places.defined()) {
      ops::PagedRows newest = paged;
      newest.places = rows.newest_places;
      return ops::AttendPromptsAndPages(qkv, heads_, rows.prompts, newest, workspace);
    }
    return ops::AttendPages(qkv, heads_, paged, workspace);
  }
  const int64_t newest = rows.newest_rows, others = qkv.size(0) - newest;
  std::vector<at::Tensor> parts;
  if (newest > 0) {
    const ops::PagedRows first{paged.places.narrow(0, 0, newest),
                               paged.positions.narrow(0, 0, newest),
                               paged.page_table,
                               paged.keys,
                               paged.values,
                               {}};
    parts.push_back(ops::AttendPages(qkv.narrow(0, 0, newest), heads_, first, workspace));
  }
  const at::Tensor own = qkv.narrow(0, newest, others);
  parts.push_back(ops::AttendSegments(heads_.Queries(own), heads_.Keys(own), heads_.Values(own),
                                      rows.prompts, /*causal=*/true));
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

at::Tensor LanguageModel::Forward(at::Tensor x, const StepRows& rows, KvCache& cache) const {
  at::Tensor qkv = layers_[0].Project(x);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const ops::PagedRows paged{rows.places,       rows.positions,      cache.page_table,
                               cache.keys[layer], cache.values[layer], rows.slots};
    at::Tensor attended = Attend(qkv, rows, paged, cache.workspace);
    qkv.reset();  // of a long prompt it is large
    const bool last = layer + 1 == layers_.size();
    if (last && rows.sample_rows.defined()) {  // the others lead nowhere
      x = x.index_select(0, rows.sample_rows);
      attended = attended.index_select(0, rows.sample_rows);
    }
    std::tie(x, qkv) = layers_[layer].FinishAndProject(
        x, attended, last ? norm_ : layers_[layer + 1].attention_norm,
        last ? head_ : layers_[layer + 1].qkv);
  }
  return qkv;  // of the head: logits
}

}  // namespace llavamini
