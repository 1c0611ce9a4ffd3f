#include "server/engine/image_encoder.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "server/engine/check.h"
#include "server/engine/model_failure.h"
#include "spdlog/spdlog.h"

namespace llavamini {

bool ImageEncoder::Has(const ImageKey& key) const {
  return std::any_of(batch_.begin(), batch_.end(),
                     [&key](const ImageToEncode& image) { return image.key == key; });
}

void ImageEncoder::Begin(std::vector<ImageToEncode> images) {
  Check(idle(), "one batch of images is encoded at a time");
  batch_ = std::move(images);
  std::vector<const ImageInput*> inputs;
  for (const ImageToEncode& image : batch_) inputs.push_back(image.input.get());
  absl::StatusOr<std::unique_ptr<Encoding>> encoding = model_->BeginEncoding(inputs);
  status_ = encoding.status();
  if (encoding.ok()) encoding_ = *std::move(encoding);
}

void ImageEncoder::RunPieces(int count) {
  for (int i = 0; i < count && status_.ok(); ++i) status_ = encoding_->RunPiece();
}

std::vector<EncodedOrFailed> ImageEncoder::Take() {
  std::vector<EncodedImagePtr> images;
  if (status_.ok()) {
    images = encoding_->images();
    if (images.size() != batch_.size()) {
      status_ =
          absl::InternalError("the model returned another number of images than it was given");
    }
  }
  const absl::Status failure = status_.ok() ? status_ : ModelFailure(status_);
  encoding_.reset();
  if (!failure.ok()) spdlog::error("encoding {} images: {}", batch_.size(), failure.ToString());
  std::vector<EncodedOrFailed> results;
  if (absl::IsResourceExhausted(failure) && batch_.size() > 1) {
    results = TakeEachAlone();
  } else {
    for (size_t i = 0; i < batch_.size(); ++i) {
      if (failure.ok()) {
        results.push_back({std::move(batch_[i]), std::move(images[i])});
      } else {
        results.push_back({std::move(batch_[i]), failure});
      }
    }
  }
  Drop();
  return results;
}

void ImageEncoder::Drop() {
  batch_.clear();
  encoding_.reset();
  status_ = absl::OkStatus();
}

std::vector<EncodedOrFailed> ImageEncoder::TakeEachAlone() {
  std::vector<EncodedOrFailed> results;
  for (ImageToEncode& image : batch_) {
    const bool lost = !results.empty() && absl::IsAborted(results.back().image.status());
    absl::StatusOr<EncodedImagePtr> encoded =
        lost ? results.back().image : EncodeAlone(image.input.get());
    if (!encoded.ok()) encoded = ModelFailure(encoded.status());
    results.push_back({std::move(image), std::move(encoded)});
  }
  return results;
}

absl::StatusOr<EncodedImagePtr> ImageEncoder::EncodeAlone(const ImageInput* input) {
  absl::StatusOr<std::unique_ptr<Encoding>> encoding = model_->BeginEncoding({input});
  if (!encoding.ok()) return encoding.status();
  while ((*encoding)->pieces_left() > 0) {
    if (absl::Status status = (*encoding)->RunPiece(); !status.ok()) return status;
  }
  std::vector<EncodedImagePtr> images = (*encoding)->images();
  if (images.size() != 1) return absl::InternalError("the model returned no image");
  return std::move(images.front());
}

}  // namespace llavamini
