// Decides how the images of waiting requests reach their prompts: which requests are worked on,
// which images are encoded together, and how much of it one loop of the engine does. Pure functions
// of what they are told: no clock, no lock, no model.
//
// Policy
// - First come, first served, and of one request in time order. Images of several requests share a
//   batch; it has one resolution_ratio, that of the oldest image, and each image once.
// - A batch is begun with whatever waits once the one before is done; so it grows with the load.
// - While nothing runs, it is brought to its end, fused and prefilled at once.
// - While sequences run, a step and the pieces before it take no longer than two steps of an idle
//   server; as images pile up behind the batch, up to three times the step more. At least one piece
//   goes before a step; but prompts, whose texts have been fused just before it, may put it off by
//   one step. What is encoded before a step is fused before the one after it.
// - Images that come back from the host's memory are held to a batch while sequences run.
// - Only as many of the oldest requests are worked on as the memory for what waits allows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "server/engine/request.h"

namespace llavamini {

struct VisionLimits {
  int32_t max_images_per_batch = 0;
  int32_t max_images_ahead = 0;  // encoded for waiting requests, and not fused
  int64_t max_rows_ahead = 0;    // of prompts that are fused, or are being, and wait
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
};

// Which of `wanted` (oldest first) are encoded together, by index.
std::vector<size_t> PlanBatch(absl::Span<const WantedImage> wanted, const VisionLimits& limits);

// How many images that the cache has on the host go to the device at once.
int64_t MovesNow(bool anyone_runs, const VisionLimits& limits);

// What runs beside it.
struct VisionLoad {
  bool anyone_runs = false;
  int64_t step_rows = 0;  // of the step to be launched next, its prompts' included
  bool step_has_prompts = false;
};

struct PieceFacts {
  int pieces_left = 0;  // of the batch under way
  VisionLoad load;
  bool put_off = false;           // no piece went before the last step
  double step_milliseconds = 0;   // of that step; 0: not known
  double idle_milliseconds = 0;   // of a step of one row, likewise
  double piece_milliseconds = 0;  // likewise
  double spent_milliseconds = 0;  // on pieces before the same step
  double batches_waiting = 0;     // images behind the batch under way, in full batches
};

// How many pieces go before that step.
int PiecesNow(const PieceFacts& facts);

}  // namespace llavamini
