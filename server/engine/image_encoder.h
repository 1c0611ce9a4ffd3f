// Encodes the images of one step: each key once, from the cache where it is known. Used by the
// engine's thread.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/model.h"
#include "server/engine/image_cache.h"
#include "server/engine/request.h"

namespace llavamini {

struct EncodedOrFailed {
  absl::StatusOr<EncodedImagePtr> image;  // failures as of RunBatch
  bool from_cache = false;
};

// One result per image, in order. Images with the same key share one encoding, images with the same
// resolution_ratio one call of the model; what was encoded is kept in the cache.
std::vector<EncodedOrFailed> EncodeImages(absl::Span<const PreparedImage* const> images,
                                          Model& model, ImageCache& cache);

}  // namespace llavamini
