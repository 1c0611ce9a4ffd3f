#include "server/engine/vision_planner.h"

#include <algorithm>
#include <cmath>

namespace llavamini {

int64_t NextImages(int64_t images_left, const VisionLimits& limits) {
  return std::min<int64_t>({images_left, limits.max_images_per_batch, limits.max_images_ahead});
}

size_t RequestsInWork(absl::Span<const VisionRequest> waiting, const VisionLimits& limits) {
  int64_t images = 0;
  int64_t rows = 0;
  size_t count = 0;
  for (const VisionRequest& request : waiting) {
    images += NextImages(request.images_left, limits);
    rows += request.prompt_rows;
    const bool fits = images <= limits.max_images_ahead && rows <= limits.max_rows_ahead;
    if (!fits && count > 0) break;
    ++count;
  }
  return count;
}

std::vector<size_t> PlanBatch(absl::Span<const WantedImage> wanted, bool anyone_runs,
                              absl::Time now, const VisionLimits& limits) {
  std::vector<size_t> batch;
  const auto full = [&] {
    return batch.size() == static_cast<size_t>(limits.max_images_per_batch);
  };
  for (size_t i = 0; i < wanted.size() && !full(); ++i) {
    const WantedImage& image = wanted[i];
    if (image.resolution_ratio != wanted[0].resolution_ratio) continue;
    const bool in_batch = std::any_of(batch.begin(), batch.end(),
                                      [&](size_t other) { return wanted[other].key == image.key; });
    if (!in_batch) batch.push_back(i);
  }
  if (batch.empty() || !anyone_runs || full()) return batch;
  return now - wanted[0].since >= limits.batch_wait ? batch : std::vector<size_t>();
}

int64_t MovesNow(bool anyone_runs, const VisionLimits& limits) {
  return anyone_runs ? limits.max_images_per_batch : limits.max_images_ahead;
}

int PiecesNow(const PieceFacts& facts) {
  if (facts.running == 0) return facts.pieces_left;
  if (facts.sequences_to_step == 0) return 0;  // their tokens come first
  const bool first = facts.spent_milliseconds <= 0;
  const int least = first ? std::min(facts.pieces_left, 1) : 0;
  if (facts.piece_milliseconds <= 0) return least;
  // As long as the step, so that answers keep half of their pace. When images pile up, answers that
  // run faster would only make the others wait longer.
  const double budget = facts.step_milliseconds * (facts.backlog ? 2 : 1);
  const double pieces = std::round((budget - facts.spent_milliseconds) / facts.piece_milliseconds);
  return static_cast<int>(std::clamp<double>(pieces, least, facts.pieces_left));
}

}  // namespace llavamini
