#include "server/engine/fusion_work.h"

#include <cstddef>
#include <utility>

#include "absl/types/span.h"
#include "server/engine/model_failure.h"
#include "spdlog/spdlog.h"

namespace llavamini {
namespace {

// The request's own failure, noted; ABORTED is passed on.
absl::Status Note(const absl::Status& status, Sequence& sequence) {
  if (status.ok()) return status;
  absl::Status failure = ModelFailure(status);
  if (absl::IsAborted(failure)) return failure;
  sequence.vision_failure = failure;
  return absl::OkStatus();
}

absl::Status BeginFusion(Sequence& sequence, Model& model) {
  if (sequence.fused != nullptr) return absl::OkStatus();
  auto fused = model.BeginFusion(sequence.request->prompt, sequence.usage.images);
  if (!fused.ok()) return Note(fused.status(), sequence);
  sequence.fused = *std::move(fused);
  return absl::OkStatus();
}

void LetGo(Sequence& sequence, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    sequence.request->images[sequence.images_fused++].encoded.reset();
  }
}

absl::Status FuseEachAlone(const std::vector<ReadyImages>& ready, Model& model) {
  for (const ReadyImages& row : ready) {
    Sequence& sequence = *row.sequence;
    for (const EncodedImagePtr& image : row.images) {
      const absl::Status fused =
          model.Fuse({FusionRow{sequence.fused.get(), absl::MakeConstSpan(&image, 1)}});
      if (absl::Status lost = Note(fused, sequence); !lost.ok()) return lost;
      if (!fused.ok()) break;
      LetGo(sequence, 1);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FuseImages(std::vector<ReadyImages> ready, Model& model, absl::Time now) {
  size_t images = 0;
  for (ReadyImages& row : ready) {
    row.sequence->MarkStarted(now);
    if (absl::Status lost = BeginFusion(*row.sequence, model); !lost.ok()) return lost;
    images += row.images.size();
  }
  std::erase_if(ready, [](const ReadyImages& r) { return !r.sequence->vision_failure.ok(); });
  if (ready.empty()) return absl::OkStatus();
  std::vector<FusionRow> rows;
  rows.reserve(ready.size());
  for (const ReadyImages& row : ready) rows.push_back({row.sequence->fused.get(), row.images});
  const absl::Status fused = model.Fuse(rows);
  if (!fused.ok()) spdlog::error("fusing {} images: {}", images, fused.ToString());
  if (absl::IsResourceExhausted(fused) && images > 1) return FuseEachAlone(ready, model);
  for (const ReadyImages& row : ready) {
    if (absl::Status lost = Note(fused, *row.sequence); !lost.ok()) return lost;
    if (fused.ok()) LetGo(*row.sequence, row.images.size());
  }
  return absl::OkStatus();
}

}  // namespace llavamini
