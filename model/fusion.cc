#include "model/fusion.h"

#include <cmath>
#include <tuple>
#include <utility>

#include "model/upload.h"

namespace llavamini {
namespace {

// n² crops' features [B, n², P, Dv] as one (n·grid) × (n·grid) raster [B, n²·P, Dv].
at::Tensor RasterOfTiles(const at::Tensor& tiles, int64_t n, int64_t grid) {
  return tiles.reshape({tiles.size(0), n, n, grid, grid, tiles.size(3)})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({tiles.size(0), n * n * grid * grid, tiles.size(3)});
}

at::Tensor RepeatedRange(int64_t first, int64_t end, int64_t times, const at::Device& device) {
  return at::arange(first, end, at::TensorOptions(at::kInt).device(device)).repeat({times});
}

}  // namespace

int64_t VisualRowCount(const ModelConfig& config, int64_t resolution_ratio) {
  const int64_t parts = resolution_ratio == 1 ? 1 : resolution_ratio * resolution_ratio + 1;
  return parts * config.vision.patches() + config.compressed_tokens();
}

Fusion::Fusion(Checkpoint& checkpoint, const ModelConfig& config, ops::RopeTable rope, bool fp8)
    : config_(config),
      heads_(HeadShapeOf(config)),
      rope_(std::move(rope)),
      compressor_(checkpoint, config),
      projector_(checkpoint, config),
      layers_(LoadLayers(checkpoint, "model.prefusion_layers", config.prefusion_layer_num, config,
                         fp8)) {
  if (layers_.empty()) return;
  const int64_t asked = heads_.query_heads * heads_.dim;
  const int64_t seen = 2 * heads_.key_value_heads * heads_.dim;
  last_asked_ = ops::Packed(layers_.back().qkv.Rows(0, asked));
  last_seen_ = ops::Packed(layers_.back().qkv.Rows(asked, asked + seen));
}

Fusion::VisualShape Fusion::ShapeOf(int64_t images, int64_t resolution_ratio,
                                    const at::Device& device) const {
  VisualShape shape;
  const int64_t compressed = config_.compressed_tokens();
  shape.images = images;
  shape.rows = VisualRowCount(config_, resolution_ratio);
  const std::vector<int64_t> rows(images, shape.rows), last(images, compressed);
  shape.all = ops::MakeSegments(rows, rows, device);
  shape.last = ops::MakeSegments(last, rows, device);
  shape.positions = RepeatedRange(0, shape.rows, images, device);
  shape.last_positions = RepeatedRange(shape.rows - compressed, shape.rows, images, device);
  return shape;
}

at::Tensor Fusion::VisualInput(const at::Tensor& features) const {
  const int64_t parts = features.size(1);
  const at::Tensor whole = features.select(1, parts - 1);
  if (parts == 1) return projector_(at::cat({whole, compressor_(whole, 1)}, 1)).flatten(0, 1);
  const int64_t n = std::lround(std::sqrt(static_cast<double>(parts - 1)));
  const at::Tensor tiles =
      RasterOfTiles(features.narrow(1, 0, parts - 1), n, config_.vision.grid());
  return projector_(at::cat({tiles, whole, compressor_(tiles, n)}, 1)).flatten(0, 1);
}

at::Tensor Fusion::RunVisualBlock(int64_t layer, at::Tensor x, const VisualShape& shape,
                                  at::Tensor& kept) const {
  const LlamaLayer& block = layers_[layer];
  const bool last = layer + 1 == layers();
  TORCH_CHECK(kept.size(0) == shape.images && kept.size(3) == shape.rows, "kept: by image");
  const ops::KeptRows own{kept.select(1, layer).select(1, 0), kept.select(1, layer).select(1, 1)};
  if (!last) {
    at::Tensor rows = block.Project(x);
    ops::RotateKeep(rows, heads_, rope_, shape.positions, own);
    block.FinishInPlace(x, ops::AttendSegments(heads_.Queries(rows), heads_.Keys(rows),
                                               heads_.Values(rows), shape.all, /*causal=*/true));
    return x;
  }
  // All rows are needed as keys and values, the compressed ones only as queries.
  const ops::HeadShape asked{heads_.query_heads, 0, heads_.dim};
  const ops::HeadShape seen{0, heads_.key_value_heads, heads_.dim};
  const int64_t compressed = shape.last.query_rows[0];
  const RmsNorm& norm = block.attention_norm;
  at::Tensor rows = ops::NormLinear(x, norm.weight, norm.eps, last_seen_);
  ops::RotateKeep(rows, seen, rope_, shape.positions, own);
  const at::Tensor y = x.unflatten(0, {shape.images, shape.rows})
                           .slice(1, shape.rows - compressed)
                           .reshape({shape.images * compressed, x.size(1)});
  at::Tensor queries = ops::NormLinear(y, norm.weight, norm.eps, last_asked_);
  ops::Rotate(queries, asked, rope_, shape.last_positions);
  return block.Finish(y, ops::AttendSegments(asked.Queries(queries), seen.Keys(rows),
                                             seen.Values(rows), shape.last, /*causal=*/true));
}

void AppendAddresses(const VisualRows& image, std::vector<int64_t>& addresses) {
  const int64_t parts = image.rows.size(0) * 2;
  const auto step = static_cast<int64_t>(image.rows.nbytes()) / parts;
  for (int64_t part = 0; part < parts; ++part) {
    addresses.push_back(reinterpret_cast<int64_t>(image.rows.data_ptr()) + part * step);
  }
}

Fusion::TextShape Fusion::ShapeOf(absl::Span<const TextRun> runs, const at::Device& device) const {
  TextShape shape;
  std::vector<int64_t> own, all, addresses;
  std::vector<int32_t> positions;
  for (const TextRun& run : runs) {
    const int64_t seen = run.image->rows.size(2);
    own.push_back(run.rows);
    all.push_back(seen + run.rows);
    for (int64_t row = 0; row < run.rows; ++row) {
      positions.push_back(static_cast<int32_t>(seen + row));
    }
    AppendAddresses(*run.image, addresses);
    shape.visual.push_back(run.image->rows);
  }
  shape.segments = ops::MakeSegments(own, all, device);
  shape.positions = Upload(positions, device);
  shape.addresses = Upload(addresses, device)
                        .view({static_cast<int64_t>(runs.size()), layers(), 2})
                        .permute({1, 2, 0})
                        .contiguous();
  return shape;
}

at::Tensor Fusion::FuseText(at::Tensor x, const TextShape& shape) const {
  at::Tensor rows = layers_[0].Project(x);
  for (int64_t layer = 0; layer < layers(); ++layer) {
    ops::Rotate(rows, heads_, rope_, shape.positions);
    std::vector<at::Tensor> visual;
    for (const at::Tensor& image : shape.visual) visual.push_back(image[layer]);
    const auto [keys, values] =
        ops::PackVisualAndText(rows, heads_, visual, shape.addresses[layer], shape.segments);
    const at::Tensor attended =
        ops::AttendSegments(heads_.Queries(rows), keys, values, shape.segments, /*causal=*/true);
    if (layer + 1 == layers()) return layers_[layer].Finish(x, attended);
    const LlamaLayer& next = layers_[layer + 1];
    std::tie(x, rows) = layers_[layer].FinishAndProject(x, attended, next.attention_norm, next.qkv);
  }
  return x;
}

}  // namespace llavamini
