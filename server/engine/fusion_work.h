// Fuses the images that are ready into their prompts, those of several requests in one call of the
// model, and lets them go. Used by the engine's thread.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/model.h"
#include "server/engine/sequence.h"

namespace llavamini {

// One request's next images in time order, all of them on the device; at least one.
struct ReadyImages {
  Sequence* sequence = nullptr;
  std::vector<EncodedImagePtr> images;
};

// When memory runs out for all together, each image is fused alone. A request that fails says so in
// vision_failure. ABORTED: the device is lost.
absl::Status FuseImages(std::vector<ReadyImages> ready, Model& model, absl::Time now);

}  // namespace llavamini
