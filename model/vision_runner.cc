#include "model/vision_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "model/page_locked.h"

namespace llavamini {
namespace {

// Batches that are graphs: a batch in between is padded to the next.
constexpr std::array<int64_t, 10> kSizes = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};

// One piece: about a millisecond of an H200, and a block of pre-fusion where that takes longer.
constexpr double kOperationsPerPiece = 0.6e12;

// Multiplications and additions of the products, times two, for one image. Units of work, in order:
// CLIP's embedding, its blocks, compressor and projector, the blocks of pre-fusion.
std::vector<double> UnitOperations(const ModelConfig& config, int64_t blocks, int64_t ratio) {
  const auto d = static_cast<double>(config.vision.hidden_size);
  const double parts = ratio == 1 ? 1 : static_cast<double>(ratio * ratio + 1);
  const auto patches = static_cast<double>(config.vision.patches());
  const auto width = static_cast<double>(config.hidden_size);
  const double inner = static_cast<double>(config.vision.intermediate_size);
  const double clip = 2 * parts * patches * (4 * d * d + 2 * d * inner + 2 * patches * d);
  const double rows = static_cast<double>(VisualRowCount(config, ratio));
  const auto heads = static_cast<double>(config.head_dim);
  const double attention =
      heads * width *
      static_cast<double>(2 * config.num_attention_heads + 2 * config.num_key_value_heads);
  const double mlp = 3 * width * static_cast<double>(config.intermediate_size);
  std::vector<double> units(1 + blocks, clip);
  units[0] = clip / 10;
  units.push_back(2 * rows * (d * width + width * width));
  for (int64_t i = 0; i + 1 < config.prefusion_layer_num; ++i) {
    units.push_back(2 * rows * (attention + mlp));
  }
  units.push_back(2 * rows * attention / 6);
  return units;
}

}  // namespace

// What all batches of so many images of one ratio share, and their pieces.
struct VisionRunner::Shape {
  int64_t images = 0, parts = 0;
  ops::Segments pictures;  // CLIP's rows of each part
  Fusion::VisualShape visual;
  at::Tensor pixels;          // uint8 [B, S, side, side, 3]
  at::Tensor clip_rows;       // [B·S·(P+1), Dv], between pieces
  at::Tensor fusion_rows;     // [B·R, D], between pieces
  at::Tensor kept;            // [B, layers, 2, R, Hkv·d]: an image's rows are one piece of memory
  at::Tensor tokens;          // [B·C, D]
  std::vector<int64_t> cuts;  // units of piece p: cuts[p] … cuts[p + 1] - 1
  std::vector<Captured> pieces;  // empty: they run directly
};

class VisionRunner::Batch : public Encoding {
 public:
  Batch(VisionRunner* runner, const Shape* shape, int64_t wanted)
      : runner_(runner), shape_(shape), wanted_(wanted) {}

  int pieces_left() const override {
    return static_cast<int>(shape_->cuts.size()) - 1 - static_cast<int>(next_);
  }

  absl::Status RunPiece() override;
  std::vector<EncodedImagePtr> images() const override { return images_; }

 private:
  void Take();

  VisionRunner* runner_;
  const Shape* shape_;
  const int64_t wanted_;  // the rest is padding
  size_t next_ = 0;
  std::vector<EncodedImagePtr> images_;
};

VisionRunner::VisionRunner(const ModelConfig& config, const ClipTower* clip, const Fusion* fusion,
                           const DeviceStream* stream, int64_t max_images,
                           const at::TensorOptions& options)
    : config_(config),
      clip_(clip),
      fusion_(fusion),
      stream_(stream),
      max_images_(max_images),
      options_(options) {}

VisionRunner::~VisionRunner() = default;

VisionRunner::Shape VisionRunner::MakeShape(int64_t images, int64_t resolution_ratio) const {
  Shape shape;
  const at::Device device = options_.device();
  const int64_t side = config_.vision.image_size;
  shape.images = images;
  shape.parts = resolution_ratio == 1 ? 1 : resolution_ratio * resolution_ratio + 1;
  const std::vector<int64_t> rows(images * shape.parts, clip_->rows());
  shape.pictures = ops::MakeSegments(rows, rows, device);
  shape.visual = fusion_->ShapeOf(images, resolution_ratio, device);
  const int64_t heads = config_.num_key_value_heads * config_.head_dim;
  // Of the largest batch, where there is one already: one batch is under way at a time.
  const auto known = shapes_.find({max_images_, resolution_ratio});
  const Shape* largest = known == shapes_.end() ? nullptr : known->second.get();
  const auto rows_of = [&](at::Tensor Shape::*member, std::vector<int64_t> sizes,
                           at::ScalarType dtype) {
    if (largest == nullptr) return at::zeros(sizes, options_.dtype(dtype));
    return (largest->*member).narrow(0, 0, sizes[0]);
  };
  const at::ScalarType dtype = options_.dtype().toScalarType();
  shape.pixels = rows_of(&Shape::pixels, {images, shape.parts, side, side, 3}, at::kByte);
  shape.kept =
      rows_of(&Shape::kept, {images, fusion_->layers(), 2, shape.visual.rows, heads}, dtype);
  shape.tokens =
      rows_of(&Shape::tokens, {images * config_.compressed_tokens(), config_.hidden_size}, dtype);
  const int64_t units = 1 + clip_->block_count() + 1 + fusion_->layers();
  shape.cuts = {0, units};
  if (!device.is_cuda()) return shape;

  shape.clip_rows = rows_of(
      &Shape::clip_rows, {images * shape.parts * clip_->rows(), config_.vision.hidden_size}, dtype);
  shape.fusion_rows =
      rows_of(&Shape::fusion_rows, {images * shape.visual.rows, config_.hidden_size}, dtype);
  const std::vector<double> costs = UnitOperations(config_, clip_->block_count(), resolution_ratio);
  double total = 0, done = 0;
  for (const double cost : costs) total += cost * static_cast<double>(images);
  const double pieces = std::max(1.0, std::ceil(total / kOperationsPerPiece));
  shape.cuts = {0};
  for (int64_t unit = 0; unit < units; ++unit) {
    done += costs[unit] * static_cast<double>(images);
    const bool enough = done >= total / pieces * static_cast<double>(shape.cuts.size()) * 0.999;
    const bool rest_is_a_piece = total - done > total / pieces / 2;
    if (enough && rest_is_a_piece) shape.cuts.push_back(unit + 1);
  }
  shape.cuts.push_back(units);
  return shape;
}

void VisionRunner::RunUnits(const Shape& shape, int64_t first, int64_t last) const {
  const int64_t input = 1 + clip_->block_count(), fusion = input + 1;
  const int64_t end = fusion + fusion_->layers();
  at::Tensor x, kept = shape.kept;
  if (first > 0) x = first <= input ? shape.clip_rows : shape.fusion_rows;
  if (first == 0) x = clip_->Embed(shape.pixels.flatten(0, 1));
  const int64_t blocks_first = std::max<int64_t>(first, 1), blocks_last = std::min(last, input);
  if (blocks_first < blocks_last) {
    clip_->RunBlocks(x, blocks_first - 1, blocks_last - 1, shape.pictures);
  }
  if (first <= input && input < last) {
    x = fusion_->VisualInput(clip_->Features(x).unflatten(0, {shape.images, shape.parts}));
  }
  for (int64_t unit = std::max(first, fusion); unit < last; ++unit) {
    x = fusion_->RunVisualBlock(unit - fusion, x, shape.visual, kept);
  }
  at::Tensor target = last == end     ? shape.tokens
                      : last <= input ? shape.clip_rows
                                      : shape.fusion_rows;
  if (!x.is_same(target)) target.copy_(x);
}

void VisionRunner::Prepare() {
  if (!options_.device().is_cuda()) return;
  for (const int64_t size : kSizes) {
    if (size < max_images_) sizes_.push_back(size);
  }
  sizes_.push_back(max_images_);
  for (auto size = sizes_.rbegin(); size != sizes_.rend(); ++size) {  // the largest first
    auto shape = std::make_unique<Shape>(MakeShape(*size, config_.resolution_ratio));
    for (size_t piece = 0; piece + 1 < shape->cuts.size(); ++piece) {
      shape->pieces.emplace_back(*stream_, [this, shape = shape.get(), piece] {
        RunUnits(*shape, shape->cuts[piece], shape->cuts[piece + 1]);
        return at::Tensor();
      });
    }
    const double all = stream_->Time(
        [&] {
          for (const Captured& piece : shape->pieces) piece.Run();
        },
        /*runs=*/3);
    piece_milliseconds_[*size] = all / static_cast<double>(shape->pieces.size());
    shapes_[{*size, config_.resolution_ratio}] = std::move(shape);
  }
}

double VisionRunner::PieceMilliseconds(int64_t images) const {
  const auto found = piece_milliseconds_.lower_bound(images);
  return found == piece_milliseconds_.end() ? 0 : found->second;
}

int64_t VisionRunner::Padded(int64_t images) const {
  const auto found = std::lower_bound(sizes_.begin(), sizes_.end(), images);
  return found == sizes_.end() ? images : *found;
}

const VisionRunner::Shape& VisionRunner::ShapeFor(int64_t images, int64_t resolution_ratio) {
  const int64_t padded = resolution_ratio == config_.resolution_ratio ? Padded(images) : images;
  std::unique_ptr<Shape>& shape = shapes_[{padded, resolution_ratio}];
  if (!shape) shape = std::make_unique<Shape>(MakeShape(padded, resolution_ratio));
  return *shape;
}

std::unique_ptr<Encoding> VisionRunner::Begin(absl::Span<const ImageInput* const> images) {
  const auto count = static_cast<int64_t>(images.size());
  TORCH_CHECK(count > 0 && count <= max_images_, "a batch has 1 to ", max_images_, " images");
  done_[next_done_].Wait();
  const Shape& shape = ShapeFor(count, images[0]->resolution_ratio);
  const int64_t bytes = count * shape.pixels.stride(0);
  const at::Tensor host =
      options_.device().is_cuda() ? PageLocked({bytes}, at::kByte) : at::empty({bytes}, at::kByte);
  for (int64_t i = 0; i < count; ++i) {
    TORCH_CHECK(std::ssize(images[i]->parts) == shape.pixels.stride(0),
                "images of one call have one resolution ratio and the tower's size");
    std::memcpy(host.data_ptr<uint8_t>() + i * shape.pixels.stride(0), images[i]->parts.data(),
                images[i]->parts.size());
  }
  shape.pixels.view({-1}).narrow(0, 0, host.numel()).copy_(host, /*non_blocking=*/true);
  auto batch = std::make_unique<Batch>(this, &shape, count);
  return batch;
}

absl::Status VisionRunner::Batch::RunPiece() {
  TORCH_CHECK(pieces_left() > 0, "a piece is run once");
  if (shape_->pieces.empty()) {
    runner_->RunUnits(*shape_, shape_->cuts[next_], shape_->cuts[next_ + 1]);
  } else {
    shape_->pieces[next_].Run();
  }
  ++next_;
  if (pieces_left() == 0) Take();
  return absl::OkStatus();
}

// Copies of their own: the next batch overwrites the shape's tensors.
void VisionRunner::Batch::Take() {
  const at::Tensor tokens = shape_->tokens.unflatten(0, {shape_->images, -1});
  for (int64_t i = 0; i < wanted_; ++i) {
    auto image = std::make_shared<VisualRows>();
    image->rows = shape_->kept[i].clone();
    image->tokens = tokens[i].clone();
    images_.push_back(std::move(image));
  }
  runner_->done_[runner_->next_done_].Record(*runner_->stream_);
  runner_->next_done_ = (runner_->next_done_ + 1) % runner_->done_.size();
}

}  // namespace llavamini
