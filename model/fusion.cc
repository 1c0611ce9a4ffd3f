#include "model/fusion.h"

#include <algorithm>
#include <cmath>

#include "model/ops.h"

namespace llavamini {
namespace {

// Frames fused at once: bounds the memory that a long video takes.
constexpr size_t kFramesPerChunk = 32;

// n² crops' features [B, n², P, Dv] as one (n·grid) × (n·grid) raster [B, n²·P, Dv].
at::Tensor RasterOfTiles(const at::Tensor& tiles, int64_t n, int64_t grid) {
  return tiles.reshape({tiles.size(0), n, n, grid, grid, tiles.size(3)})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({tiles.size(0), n * n * grid * grid, tiles.size(3)});
}

at::Tensor Stack(absl::Span<const VisualRows* const> frames,
                 std::vector<at::Tensor> VisualRows::*rows, size_t layer) {
  std::vector<at::Tensor> parts;
  parts.reserve(frames.size());
  for (const VisualRows* frame : frames) parts.push_back((frame->*rows)[layer]);
  return at::stack(parts);
}

}  // namespace

size_t VisualRows::bytes() const {
  size_t total = tokens.nbytes();
  for (const at::Tensor& t : keys) total += t.nbytes();
  for (const at::Tensor& t : values) total += t.nbytes();
  return total;
}

Fusion::Fusion(Checkpoint& checkpoint, const ModelConfig& config, const Rope& rope)
    : config_(config),
      compressor_(checkpoint, config),
      projector_(checkpoint, config),
      layers_(LoadLayers(checkpoint, "model.prefusion_layers", config.prefusion_layer_num, config)),
      rope_(rope) {}

at::Tensor Fusion::VisualInput(const at::Tensor& features) const {
  const int64_t parts = features.size(1);
  const at::Tensor whole = features.select(1, parts - 1);
  if (parts == 1) return projector_(at::cat({whole, compressor_(whole, 1)}, 1));
  const int64_t n = std::lround(std::sqrt(static_cast<double>(parts - 1)));
  const at::Tensor tiles =
      RasterOfTiles(features.narrow(1, 0, parts - 1), n, config_.vision.grid());
  return projector_(at::cat({tiles, whole, compressor_(tiles, n)}, 1));
}

std::vector<EncodedImagePtr> Fusion::EncodeImages(const at::Tensor& features) const {
  at::Tensor x = VisualInput(features);
  const int64_t images = x.size(0), rows = x.size(1), compressed = config_.compressed_tokens();
  const RopeRows rope = rope_(at::arange(rows, x.options().dtype(at::kLong)).repeat({images}));
  std::vector<std::shared_ptr<VisualRows>> results(images);
  for (auto& result : results) result = std::make_shared<VisualRows>();
  x = x.flatten(0, 1);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const ProjectedRows projected = layers_[layer].Project(x, rope);
    const auto by_image = [&](const at::Tensor& t) { return t.unflatten(0, {images, rows}); };
    at::Tensor q = by_image(projected.q);
    const at::Tensor k = by_image(projected.k), v = by_image(projected.v);
    for (int64_t i = 0; i < images; ++i) {
      results[i]->keys.push_back(k[i].contiguous());
      results[i]->values.push_back(v[i].contiguous());
    }
    if (layer + 1 == layers_.size()) {  // of the last layer only the compressed rows are needed
      q = q.slice(1, rows - compressed);
      x = by_image(x).slice(1, rows - compressed).flatten(0, 1);
    }
    x = layers_[layer].Finish(x, ops::AttendCausal(q, k, v).flatten(0, 1));
  }
  const at::Tensor tokens = x.unflatten(0, {images, compressed});
  for (int64_t i = 0; i < images; ++i) results[i]->tokens = tokens[i].contiguous();
  return {results.begin(), results.end()};
}

at::Tensor Fusion::FuseWithFrames(const at::Tensor& text,
                                  absl::Span<const VisualRows* const> frames) const {
  const int64_t count = static_cast<int64_t>(frames.size()), length = text.size(0);
  const int64_t seen = frames[0]->keys[0].size(0);
  const RopeRows rope =
      rope_(at::arange(seen, seen + length, text.options().dtype(at::kLong)).repeat({count}));
  at::Tensor x = text.repeat({count, 1});
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const ProjectedRows own = layers_[layer].Project(x, rope);
    const auto by_frame = [&](const at::Tensor& t) { return t.unflatten(0, {count, length}); };
    const at::Tensor k = at::cat({Stack(frames, &VisualRows::keys, layer), by_frame(own.k)}, 1);
    const at::Tensor v = at::cat({Stack(frames, &VisualRows::values, layer), by_frame(own.v)}, 1);
    x = layers_[layer].Finish(x, ops::AttendCausal(by_frame(own.q), k, v).flatten(0, 1));
  }
  return x.unflatten(0, {count, length}).sum(0, /*keepdim=*/false, at::kFloat);
}

at::Tensor Fusion::FuseText(const at::Tensor& text,
                            absl::Span<const VisualRows* const> frames) const {
  at::Tensor sum;
  for (size_t first = 0; first < frames.size(); first += kFramesPerChunk) {
    const at::Tensor part = FuseWithFrames(text, frames.subspan(first, kFramesPerChunk));
    sum = sum.defined() ? sum + part : part;
  }
  return (sum / static_cast<double>(frames.size())).to(text.scalar_type());
}

}  // namespace llavamini
