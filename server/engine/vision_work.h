// Brings the images of waiting requests into their prompts: takes what the cache knows, encodes the
// rest in batches and pieces, fuses, and keeps the cache's tiers filled. What of it and how much is
// decided in vision_planner.h. Used by the engine's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/model.h"
#include "server/engine/image_cache.h"
#include "server/engine/image_encoder.h"
#include "server/engine/sequence.h"
#include "server/engine/vision_planner.h"

namespace llavamini {

class VisionWork {
 public:
  // Model and cache outlive it.
  VisionWork(const VisionLimits& limits, std::function<absl::Time()> clock, Model* model,
             ImageCache* cache);

  // The parts of one loop's work for the waiting requests with images, in order of arrival. True
  // when there was any. A request whose images or fusion failed says so in vision_failure. ABORTED:
  // the device is lost.

  // Takes what the cache knows, and fuses what is on the device.
  absl::StatusOr<bool> Fuse(absl::Span<Sequence* const> waiting, bool anyone_runs);

  // Runs the pieces that go before that step.
  absl::StatusOr<bool> Encode(absl::Span<Sequence* const> waiting, const VisionLoad& load);

  // No encoding is under way.
  bool idle() const { return encoder_.idle(); }

  // Drops the encoding under way.
  void Drop() { encoder_.Drop(); }

 private:
  absl::StatusOr<bool> TakeKnown(absl::Span<Sequence* const> in_work, int64_t moves);
  void LookUp(Sequence& sequence, PreparedImage& image);
  absl::Status MoveToDevice(Sequence& sequence, PreparedImage& image);
  absl::Span<Sequence* const> InWork(absl::Span<Sequence* const> waiting) const;
  std::vector<ImageToEncode> NextBatch(absl::Span<Sequence* const> in_work) const;
  PieceFacts FactsBefore(const VisionLoad& load) const;
  bool BeginBatch(absl::Span<Sequence* const> in_work);
  int64_t WaitingImages(absl::Span<Sequence* const> in_work) const;
  absl::Status Deliver(absl::Span<Sequence* const> in_work);
  absl::Status Keep(const ImageKey& key, const EncodedImagePtr& image);
  absl::Span<PreparedImage> NextImagesOf(Sequence& sequence) const;
  bool Caches(const Sequence& sequence) const;

  const VisionLimits limits_;
  const std::function<absl::Time()> clock_;
  Model* const model_;
  ImageCache* const cache_;
  ImageEncoder encoder_;
  bool has_host_tier_ = true;
  bool put_off_ = false;  // no piece went before the last step, though a batch was under way
};

}  // namespace llavamini
