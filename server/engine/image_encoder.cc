#include "server/engine/image_encoder.h"

#include <cstddef>
#include <map>
#include <utility>

#include "server/engine/batch.h"

namespace llavamini {
namespace {

using Results = std::map<ImageKey, EncodedOrFailed>;

// Distinct images of one resolution_ratio, none of them in the cache.
void EncodeGroup(absl::Span<const PreparedImage* const> images, Model& model, ImageCache& cache,
                 Results& results) {
  std::vector<const ImageInput*> inputs;
  for (const PreparedImage* image : images) inputs.push_back(image->input.get());
  auto encoded = RunBatch<EncodedImagePtr>(
      absl::MakeConstSpan(inputs),
      [&model](absl::Span<const ImageInput* const> rows) { return model.EncodeImages(rows); });
  for (size_t i = 0; i < images.size(); ++i) {
    if (encoded[i].ok()) cache.Insert(images[i]->key, *encoded[i]);
    results.insert_or_assign(images[i]->key, EncodedOrFailed{std::move(encoded[i])});
  }
}

}  // namespace

std::vector<EncodedOrFailed> EncodeImages(absl::Span<const PreparedImage* const> images,
                                          Model& model, ImageCache& cache) {
  Results results;
  std::map<int, std::vector<const PreparedImage*>> groups;  // by resolution_ratio
  for (const PreparedImage* image : images) {
    if (results.contains(image->key)) continue;
    EncodedImagePtr known = cache.Find(image->key);
    if (known == nullptr) groups[image->input->resolution_ratio].push_back(image);
    const bool from_cache = known != nullptr;
    results.emplace(image->key, EncodedOrFailed{std::move(known), from_cache});
  }
  absl::Status lost;
  for (const auto& [ratio, group] : groups) {
    EncodeGroup(group, model, cache, results);
    lost = results.at(group.back()->key).image.status();
    if (absl::IsAborted(lost)) break;
  }
  std::vector<EncodedOrFailed> ordered;
  for (const PreparedImage* image : images) {
    EncodedOrFailed& result = results.at(image->key);
    const bool skipped = result.image.ok() && *result.image == nullptr;
    ordered.push_back(skipped ? EncodedOrFailed{lost} : result);
  }
  return ordered;
}

}  // namespace llavamini
