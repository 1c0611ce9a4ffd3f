#include "server/engine/vision_work.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "server/engine/fusion_work.h"
#include "server/engine/model_failure.h"
#include "spdlog/spdlog.h"

namespace llavamini {
namespace {

std::vector<VisionRequest> FactsOf(absl::Span<Sequence* const> waiting) {
  std::vector<VisionRequest> facts;
  facts.reserve(waiting.size());
  for (const Sequence* sequence : waiting) {
    facts.push_back({sequence->images_left(), sequence->usage.prompt_tokens});
  }
  return facts;
}

void NoteEncodingBegan(Sequence& sequence, absl::Time now) {
  if (sequence.encoding_began != absl::InfiniteFuture()) return;
  sequence.encoding_began = now;
  sequence.MarkStarted(now);
  sequence.ReportEncoding();
}

// Those of `images` before the first that is not ready.
std::vector<EncodedImagePtr> Ready(absl::Span<const PreparedImage> images) {
  std::vector<EncodedImagePtr> ready;
  for (const PreparedImage& image : images) {
    if (image.encoded == nullptr || image.encoded->on_host()) break;
    ready.push_back(image.encoded);
  }
  return ready;
}

}  // namespace

VisionWork::VisionWork(const VisionLimits& limits, std::function<absl::Time()> clock, Model* model,
                       ImageCache* cache)
    : limits_(limits), clock_(std::move(clock)), model_(model), cache_(cache), encoder_(model) {}

absl::StatusOr<bool> VisionWork::Fuse(absl::Span<Sequence* const> waiting, bool anyone_runs) {
  const auto in_work = InWork(waiting);
  const absl::StatusOr<bool> moved = TakeKnown(in_work, MovesNow(anyone_runs, limits_));
  if (!moved.ok()) return moved;
  std::vector<ReadyImages> ready;
  for (Sequence* sequence : in_work) {
    if (!sequence->vision_failure.ok()) continue;
    std::vector<EncodedImagePtr> images = Ready(NextImagesOf(*sequence));
    if (!images.empty()) ready.push_back({sequence, std::move(images)});
  }
  const bool worked = *moved || !ready.empty();
  if (absl::Status lost = FuseImages(std::move(ready), *model_, clock_()); !lost.ok()) return lost;
  return worked;
}

// Those that are worked on.
absl::Span<Sequence* const> VisionWork::InWork(absl::Span<Sequence* const> waiting) const {
  return waiting.first(RequestsInWork(FactsOf(waiting), limits_));
}

// Takes what either tier of the cache knows; at most `moves` of it from the host. True when it
// moved any.
absl::StatusOr<bool> VisionWork::TakeKnown(absl::Span<Sequence* const> in_work, int64_t moves) {
  bool moved = false;
  for (Sequence* sequence : in_work) {
    for (PreparedImage& image : NextImagesOf(*sequence)) {
      if (image.encoded == nullptr) LookUp(*sequence, image);
      const bool on_host = image.encoded != nullptr && image.encoded->on_host();
      if (!on_host || moves-- <= 0) continue;
      moved = true;
      if (absl::Status lost = MoveToDevice(*sequence, image); !lost.ok()) return lost;
      if (!sequence->vision_failure.ok()) break;
    }
  }
  return moved;
}

void VisionWork::LookUp(Sequence& sequence, PreparedImage& image) {
  if (encoder_.Has(image.key)) return NoteEncodingBegan(sequence, clock_());
  image.encoded = cache_->Find(image.key);
  if (image.encoded == nullptr) return;
  image.input.reset();
  ++sequence.usage.cached_images;
  ++sequence.images_encoded;
  sequence.ReportEncoding();
}

absl::Status VisionWork::MoveToDevice(Sequence& sequence, PreparedImage& image) {
  absl::StatusOr<EncodedImagePtr> moved = model_->MoveToDevice(image.encoded);
  if (!moved.ok()) {
    sequence.vision_failure = ModelFailure(moved.status());
    return absl::IsAborted(sequence.vision_failure) ? sequence.vision_failure : absl::OkStatus();
  }
  image.encoded = *std::move(moved);
  return Caches(sequence) ? Keep(image.key, image.encoded) : absl::OkStatus();
}

absl::StatusOr<bool> VisionWork::Encode(absl::Span<Sequence* const> waiting,
                                        const VisionLoad& load) {
  const auto in_work = InWork(waiting);
  PieceFacts facts = FactsBefore(load);
  bool worked = false;
  int pieces_run = 0;
  while (!encoder_.idle() || BeginBatch(in_work)) {
    worked = true;
    facts.pieces_left = encoder_.pieces_left();
    facts.piece_milliseconds = model_->PieceMilliseconds(encoder_.images());
    facts.batches_waiting = static_cast<double>(WaitingImages(in_work)) /
                            static_cast<double>(limits_.max_images_per_batch);
    const int pieces = PiecesNow(facts);
    encoder_.RunPieces(pieces);
    pieces_run += pieces;
    if (encoder_.pieces_left() > 0) break;
    if (absl::Status lost = Deliver(in_work); !lost.ok()) return lost;
    facts.spent_milliseconds += pieces * facts.piece_milliseconds;
    if (!load.anyone_runs || facts.spent_milliseconds <= 0) break;  // arrivals are looked at first
  }
  const bool step_follows = !load.anyone_runs || load.step_rows > 0;
  if (step_follows) put_off_ = !encoder_.idle() && pieces_run == 0;
  return worked;
}

PieceFacts VisionWork::FactsBefore(const VisionLoad& load) const {
  PieceFacts facts;
  facts.load = load;
  facts.put_off = put_off_;
  facts.step_milliseconds = model_->StepMilliseconds(load.step_rows);
  facts.idle_milliseconds = model_->StepMilliseconds(1);
  return facts;
}

// True when a batch is under way then.
bool VisionWork::BeginBatch(absl::Span<Sequence* const> in_work) {
  std::vector<ImageToEncode> batch = NextBatch(in_work);
  if (batch.empty()) return false;
  const absl::Time now = clock_();
  encoder_.Begin(std::move(batch));
  for (Sequence* sequence : in_work) {
    for (const PreparedImage& image : NextImagesOf(*sequence)) {
      if (encoder_.Has(image.key)) NoteEncodingBegan(*sequence, now);
    }
  }
  return true;
}

// Images that are neither encoded nor in the batch under way.
int64_t VisionWork::WaitingImages(absl::Span<Sequence* const> in_work) const {
  int64_t images = 0;
  for (Sequence* sequence : in_work) {
    for (const PreparedImage& image : NextImagesOf(*sequence)) {
      if (image.encoded == nullptr && !encoder_.Has(image.key)) ++images;
    }
  }
  return images;
}

std::vector<ImageToEncode> VisionWork::NextBatch(absl::Span<Sequence* const> in_work) const {
  std::vector<WantedImage> wanted;
  std::vector<ImageToEncode> images;
  for (Sequence* sequence : in_work) {
    if (!sequence->vision_failure.ok()) continue;
    for (const PreparedImage& image : NextImagesOf(*sequence)) {
      if (image.encoded != nullptr) continue;
      wanted.push_back({image.key, image.input->resolution_ratio});
      images.push_back({image.key, image.input, Caches(*sequence)});
    }
  }
  std::vector<ImageToEncode> batch;
  for (const size_t i : PlanBatch(wanted, limits_)) batch.push_back(images[i]);
  return batch;
}

absl::Status VisionWork::Deliver(absl::Span<Sequence* const> in_work) {
  const std::vector<EncodedOrFailed> results = encoder_.Take();
  for (const EncodedOrFailed& result : results) {
    if (absl::IsAborted(result.image.status())) return result.image.status();
  }
  for (Sequence* sequence : in_work) {
    const int64_t before = sequence->images_encoded;
    for (PreparedImage& image : NextImagesOf(*sequence)) {
      const auto result = std::find_if(
          results.begin(), results.end(),
          [&image](const EncodedOrFailed& encoded) { return encoded.what.key == image.key; });
      if (image.encoded != nullptr || result == results.end()) continue;
      if (!result->image.ok()) {
        sequence->vision_failure = result->image.status();
        break;
      }
      image.encoded = *result->image;
      image.input.reset();
      ++sequence->images_encoded;
    }
    if (sequence->images_encoded != before) sequence->ReportEncoding();
  }
  for (const EncodedOrFailed& result : results) {
    if (!result.image.ok() || !result.what.keep) continue;
    if (absl::Status lost = Keep(result.what.key, *result.image); !lost.ok()) return lost;
  }
  return absl::OkStatus();
}

// Into the cache, and what falls out of its device tier into the other one. ABORTED alone is
// returned: an image that cannot be moved is forgotten.
absl::Status VisionWork::Keep(const ImageKey& key, const EncodedImagePtr& image) {
  for (const CachedImage& fallen : cache_->Insert(key, image)) {
    if (!has_host_tier_) break;
    absl::StatusOr<EncodedImagePtr> moved = model_->MoveToHost(fallen.image);
    if (moved.ok()) {
      cache_->Insert(fallen.key, *std::move(moved));
    } else if (absl::IsUnimplemented(moved.status())) {
      has_host_tier_ = false;
    } else if (absl::IsAborted(moved.status())) {
      return moved.status();
    } else {
      spdlog::warn("an image is not kept on the host: {}", moved.status().ToString());
    }
  }
  return absl::OkStatus();
}

absl::Span<PreparedImage> VisionWork::NextImagesOf(Sequence& sequence) const {
  const auto next = static_cast<size_t>(NextImages(sequence.images_left(), limits_));
  return absl::MakeSpan(sequence.request->images).subspan(sequence.images_fused, next);
}

// More images than may be ahead would flush the cache for a question that is hardly asked again.
bool VisionWork::Caches(const Sequence& sequence) const {
  return sequence.usage.images <= limits_.max_images_ahead;
}

}  // namespace llavamini
