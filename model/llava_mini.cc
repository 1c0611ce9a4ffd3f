#include "model/llava_mini.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/checkpoint.h"
#include "model/clip.h"
#include "model/device.h"
#include "model/fusion.h"
#include "model/language_model.h"
#include "model/sampler.h"

namespace llavamini {
namespace {

// Runs one call of the model; whatever LibTorch throws becomes a status (see Model).
template <typename Function>
auto Guarded(Function function) -> absl::StatusOr<decltype(function())> {
  try {
    const c10::InferenceMode guard;
    return function();
  } catch (const std::exception& error) {
    return StatusOfTorchError(error);
  }
}

class LlavaMini : public Model {
 public:
  LlavaMini(Checkpoint& checkpoint, const ModelConfig& config, const LoadOptions& options,
            const Placement& placement)
      : config_(config),
        device_(placement.device),
        rope_(config, placement.device),
        clip_(checkpoint, config),
        fusion_(checkpoint, config, rope_),
        language_model_(checkpoint, config, rope_),
        cache_(config, options.kv_pages,
               at::TensorOptions(placement.device).dtype(placement.dtype)) {
    facts_.device = DeviceName(placement.device);
    facts_.dtype = DtypeName(placement.dtype);
    facts_.vocab_size = config.vocab_size;
    facts_.parameters = checkpoint.parameters();
    facts_.max_position = config.max_position_embeddings;
    facts_.tokens_per_image = static_cast<int32_t>(config.compressed_tokens());
    facts_.pages = options.kv_pages;
  }

  const ModelFacts& facts() const override { return facts_; }

  absl::StatusOr<std::vector<EncodedImagePtr>> EncodeImages(
      absl::Span<const ImageInput* const> images) override {
    return Guarded([&] { return Encode(images); });
  }

  absl::StatusOr<std::vector<SampledToken>> Prefill(absl::Span<const PromptRow> prompts) override {
    return Guarded([&] { return PrefillRows(prompts); });
  }

  absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) override {
    return Guarded([&] { return DecodeRows(rows); });
  }

 private:
  std::vector<EncodedImagePtr> Encode(absl::Span<const ImageInput* const> images) const;
  std::vector<SampledToken> PrefillRows(absl::Span<const PromptRow> prompts);
  std::vector<SampledToken> DecodeRows(absl::Span<const DecodeRow> rows);
  // The language model's input for one prompt: [rows, D].
  at::Tensor PromptEmbeddings(const PromptRow& prompt) const;
  at::Tensor Ids(absl::Span<const TokenId> ids) const;
  std::vector<SampledToken> SampleRows(const at::Tensor& logits,
                                       absl::Span<const SamplingContext> contexts) const;

  const ModelConfig config_;
  const at::Device device_;
  const Rope rope_;
  const ClipTower clip_;
  const Fusion fusion_;
  const LanguageModel language_model_;
  KvCache cache_;
  ModelFacts facts_;
};

std::vector<EncodedImagePtr> LlavaMini::Encode(absl::Span<const ImageInput* const> images) const {
  if (images.empty()) return {};
  const int64_t parts = images[0]->part_count(), side = config_.vision.image_size;
  at::Tensor pixels =
      at::empty({static_cast<int64_t>(images.size()), parts, side, side, 3}, at::kByte);
  for (int64_t i = 0; i < std::ssize(images); ++i) {
    TORCH_CHECK(std::ssize(images[i]->parts) == pixels[i].numel(),
                "images of one call have one resolution ratio and the tower's size");
    std::copy(images[i]->parts.begin(), images[i]->parts.end(), pixels[i].data_ptr<uint8_t>());
  }
  const at::Tensor features = clip_(pixels.flatten(0, 1).to(device_));  // [B·S, P, Dv]
  return fusion_.EncodeImages(features.unflatten(0, {pixels.size(0), parts}));
}

at::Tensor LlavaMini::Ids(absl::Span<const TokenId> ids) const {
  return at::tensor(at::ArrayRef<TokenId>(ids.data(), ids.size()), at::kInt).to(device_);
}

// Ignored ids (the placeholder, and the real token 0) take no part in pre-fusion: nothing attends
// to them, they have no position, and their rows stay plain embeddings.
at::Tensor LlavaMini::PromptEmbeddings(const PromptRow& prompt) const {
  const at::Tensor ids = Ids(prompt.prompt);
  at::Tensor text = language_model_.Embed(ids.clamp_min(0));
  if (prompt.images.empty()) return text;
  std::vector<const VisualRows*> frames;
  std::vector<at::Tensor> tokens;
  for (const EncodedImagePtr& image : prompt.images) {
    frames.push_back(static_cast<const VisualRows*>(image.get()));
    tokens.push_back(frames.back()->tokens);
  }
  const at::Tensor taking_part = at::nonzero(ids > 0).squeeze(1);
  text.index_copy_(0, taking_part, fusion_.FuseText(text.index_select(0, taking_part), frames));
  const auto found = std::find(prompt.prompt.begin(), prompt.prompt.end(), kImagePlaceholder);
  TORCH_CHECK(found != prompt.prompt.end(), "a prompt with images has a placeholder");
  const int64_t place = found - prompt.prompt.begin();
  return at::cat({text.slice(0, 0, place), at::cat(tokens), text.slice(0, place + 1)});
}

std::vector<SampledToken> LlavaMini::PrefillRows(absl::Span<const PromptRow> prompts) {
  std::vector<at::Tensor> embeddings;
  std::vector<int64_t> lengths;
  std::vector<absl::Span<const int32_t>> pages;
  std::vector<SamplingContext> contexts;
  for (const PromptRow& prompt : prompts) {
    embeddings.push_back(PromptEmbeddings(prompt));
    lengths.push_back(embeddings.back().size(0));
    pages.push_back(prompt.pages);
    contexts.push_back({prompt.prompt, {}, *prompt.sampling});
  }
  if (prompts.empty()) return {};
  return SampleRows(language_model_.Prefill(at::cat(embeddings), lengths, pages, cache_), contexts);
}

std::vector<SampledToken> LlavaMini::DecodeRows(absl::Span<const DecodeRow> rows) {
  std::vector<TokenId> newest;
  std::vector<int32_t> positions;
  std::vector<absl::Span<const int32_t>> pages;
  std::vector<SamplingContext> contexts;
  for (const DecodeRow& row : rows) {
    newest.push_back(row.answer.back());
    positions.push_back(row.position);
    pages.push_back(row.pages);
    contexts.push_back({row.prompt, row.answer, *row.sampling});
  }
  if (rows.empty()) return {};
  const at::Tensor x = language_model_.Embed(Ids(newest));
  return SampleRows(language_model_.Decode(x, positions, pages, cache_), contexts);
}

std::vector<SampledToken> LlavaMini::SampleRows(const at::Tensor& logits,
                                                absl::Span<const SamplingContext> contexts) const {
  const at::Tensor largest = logits.argmax(-1).to(at::kCPU);
  std::vector<SampledToken> tokens;
  for (size_t i = 0; i < contexts.size(); ++i) {
    if (IsPlainGreedy(contexts[i].params)) {
      tokens.push_back({{static_cast<TokenId>(largest.data_ptr<int64_t>()[i]), 0}, {}});
      continue;
    }
    at::Tensor row = logits[static_cast<int64_t>(i)].to(at::kCPU, at::kFloat,
                                                        /*non_blocking=*/false, /*copy=*/true);
    tokens.push_back(
        Sample({row.data_ptr<float>(), static_cast<size_t>(row.numel())}, contexts[i]));
  }
  return tokens;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadLlavaMini(const LoadOptions& options,
                                                     const ModelConfig& config) {
  absl::StatusOr<Placement> placement = ChoosePlacement(options);
  if (!placement.ok()) return placement.status();
  if (options.threads > 0) at::set_num_threads(options.threads);
  absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint =
      Checkpoint::Open(options.folder, options.vision_tower);
  if (!checkpoint.ok()) return checkpoint.status();
  (*checkpoint)->SetTarget(placement->device, placement->dtype);
  absl::StatusOr<std::unique_ptr<Model>> model = Guarded([&]() -> std::unique_ptr<Model> {
    return std::make_unique<LlavaMini>(**checkpoint, config, options, *placement);
  });
  if (const absl::Status status = (*checkpoint)->Finish(); !status.ok()) return status;
  return model;
}

}  // namespace llavamini
