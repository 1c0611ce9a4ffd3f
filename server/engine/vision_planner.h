// Decides how the images of waiting requests reach their prompts: which requests are worked on,
// which images are encoded together, and how much of it one loop of the engine does. Pure functions
// of what they are told: no clock, no lock, no model.
//
// Policy
// - First come, first served, and of one request in time order. Images of several requests share a
//   batch; it has one resolution_ratio, that of the oldest image, and each image once.
// - While nothing runs, a batch is begun with whatever there is and brought to its end at once.
// - While sequences run, a batch is begun when it is full or its oldest image has waited for
//   `batch_wait`, and each step of theirs makes room for about its own time of vision work (twice
//   that when images pile up), at least one piece: inter-token latency at most about doubles.
//   Images that come back from the host's memory are held to a batch as well.
// - Only as many of the oldest requests are worked on as the memory for what waits allows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/engine/request.h"

namespace llavamini {

struct VisionLimits {
  int32_t max_images_per_batch = 0;
  int32_t max_images_ahead = 0;  // encoded for waiting requests, and not fused
  int64_t max_rows_ahead = 0;    // of prompts that are fused, or are being, and wait
  absl::Duration batch_wait;
};

// A waiting request with images.
struct VisionRequest {
  int64_t images_left = 0;  // to fuse
  int64_t prompt_rows = 0;
};

// Its next images: those that may be encoded before the ones before them are fused.
int64_t NextImages(int64_t images_left, const VisionLimits& limits);

// How many of the oldest requests are worked on; at least one if there is any.
size_t RequestsInWork(absl::Span<const VisionRequest> waiting, const VisionLimits& limits);

// An image that must be encoded.
struct WantedImage {
  ImageKey key{};
  int resolution_ratio = 1;
  absl::Time since;  // when it began to wait
};

// Which of `wanted` (oldest first) are encoded together, by index. Empty: none yet.
std::vector<size_t> PlanBatch(absl::Span<const WantedImage> wanted, bool anyone_runs,
                              absl::Time now, const VisionLimits& limits);

// How many images that the cache has on the host go to the device at once.
int64_t MovesNow(bool anyone_runs, const VisionLimits& limits);

struct PieceFacts {
  int pieces_left = 0;            // of the batch under way
  int64_t running = 0;            // sequences
  int64_t sequences_to_step = 0;  // of them, those in the step to be launched next
  double step_milliseconds = 0;   // of that step; 0: not known
  double piece_milliseconds = 0;  // likewise
  double spent_milliseconds = 0;  // on pieces before the same step
  bool backlog = false;           // a whole batch of images waits behind this one
};

// How many pieces go before that step.
int PiecesNow(const PieceFacts& facts);

}  // namespace llavamini
