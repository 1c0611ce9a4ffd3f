#include "server/engine/vision_planner.h"

#include <algorithm>
#include <cmath>

namespace llavamini {
namespace {

constexpr double kIdleSteps = 2;    // that a step and the pieces before it take
constexpr double kMostOfAStep = 3;  // that pieces take where a full batch of images waits

}  // namespace

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

std::vector<size_t> PlanBatch(absl::Span<const WantedImage> wanted, const VisionLimits& limits) {
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
  return batch;
}

int64_t MovesNow(bool anyone_runs, const VisionLimits& limits) {
  return anyone_runs ? limits.max_images_per_batch : limits.max_images_ahead;
}

int PiecesNow(const PieceFacts& facts) {
  if (!facts.load.anyone_runs) return facts.pieces_left;
  if (facts.load.step_rows == 0) return 0;  // their tokens come first
  const bool may_be_none =
      facts.spent_milliseconds > 0 || (facts.load.step_has_prompts && !facts.put_off);
  const int least = may_be_none ? 0 : std::min(facts.pieces_left, 1);
  if (facts.piece_milliseconds <= 0) return least;
  const double room = facts.load.step_has_prompts
                          ? 0
                          : kIdleSteps * facts.idle_milliseconds - facts.step_milliseconds;
  // The cube: half a batch is no pile, and answers need not wait for it.
  const double pile = std::min(facts.batches_waiting, 1.0);
  const double budget = std::max(room, kMostOfAStep * pile * pile * pile * facts.step_milliseconds);
  const double pieces = (budget - facts.spent_milliseconds) / facts.piece_milliseconds;
  return static_cast<int>(std::clamp<double>(std::floor(pieces), least, facts.pieces_left));
}

}  // namespace llavamini
