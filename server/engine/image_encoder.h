// The batch of images that is being encoded, if any: begun, run in pieces, and taken when it is
// done. When memory runs out for several images together, each is encoded alone. Used by the
// engine's thread.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/model.h"
#include "server/engine/request.h"

namespace llavamini {

struct ImageToEncode {
  ImageKey key{};
  std::shared_ptr<const ImageInput> input;
  bool keep = false;  // in the cache
};

struct EncodedOrFailed {
  ImageToEncode what;
  absl::StatusOr<EncodedImagePtr> image;  // failures as of ModelFailure
};

class ImageEncoder {
 public:
  explicit ImageEncoder(Model* model) : model_(model) {}

  bool idle() const { return batch_.empty(); }
  int64_t images() const { return static_cast<int64_t>(batch_.size()); }
  bool Has(const ImageKey& key) const;
  int pieces_left() const { return status_.ok() && encoding_ ? encoding_->pieces_left() : 0; }

  // Images of one resolution_ratio, each key once, at least one; idle() before.
  void Begin(std::vector<ImageToEncode> images);

  // At most pieces_left(); none after one has failed.
  void RunPieces(int count);

  // Once pieces_left() is 0: the batch in order, which is over with it.
  std::vector<EncodedOrFailed> Take();

  // Drops the batch under way.
  void Drop();

 private:
  absl::StatusOr<EncodedImagePtr> EncodeAlone(const ImageInput* input);
  std::vector<EncodedOrFailed> TakeEachAlone();

  Model* const model_;
  std::vector<ImageToEncode> batch_;
  std::unique_ptr<Encoding> encoding_;
  absl::Status status_;
};

}  // namespace llavamini
