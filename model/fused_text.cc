#include "model/fused_text.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "model/upload.h"

namespace llavamini {
namespace {

// Rows fused at once: bounds the memory that a long text or many frames take.

// The longest text that is a graph.
constexpr int64_t kMostShortRows = 256;

}  // namespace

FusedText::FusedText(absl::Span<const TokenId> prompt, int64_t image_count) : images(image_count) {
  for (const TokenId id : prompt) {
    if (id > 0) ids.push_back(id);
  }
}

struct TextFuser::Batch {
  struct Part {
    FusedText* text;
    int64_t images;
  };
  std::vector<Part> parts;
  std::vector<TextRun> runs;
  int64_t rows = 0;
};

void TextFuser::Fuse(absl::Span<const FusionRow> rows) const {
  Batch batch;
  for (const FusionRow& row : rows) {
    auto& text = static_cast<FusedText&>(*row.prompt);
    const auto length = static_cast<int64_t>(text.ids.size());
    for (const EncodedImagePtr& image : row.images) {
      TORCH_CHECK(!image->on_host(), "images are fused on the device");
      if (!batch.runs.empty() && batch.rows + length > kMostTextRows) {
        Run(batch);
        batch = {};
      }
      if (batch.parts.empty() || batch.parts.back().text != &text) {
        batch.parts.push_back({&text, 0});
      }
      ++batch.parts.back().images;
      batch.runs.push_back({static_cast<const VisualRows*>(image.get()), length});
      batch.rows += length;
    }
  }
  if (!batch.runs.empty()) Run(batch);
}

// The graph reads: int64 addresses [layers · 2], int32 ids [rows], first_query [2], first [2].
struct TextFuser::Short {
  Short(const Fusion& fusion, int64_t visual_rows, int64_t row_count, const at::Device& device)
      : rows(row_count), address_bytes(fusion.layers() * 2 * 8) {
    const auto ints = at::TensorOptions(at::kInt).device(device);
    inputs = at::zeros({address_bytes / 4 + rows + 4}, ints);
    ids = inputs.narrow(0, address_bytes / 4, rows);
    shape.addresses =
        inputs.narrow(0, 0, address_bytes / 4).view(at::kLong).view({fusion.layers(), 2, 1});
    shape.positions = at::arange(visual_rows, visual_rows + rows, ints);
    shape.segments = {{rows},
                      {visual_rows + rows},
                      inputs.narrow(0, address_bytes / 4 + rows, 2),
                      inputs.narrow(0, address_bytes / 4 + rows + 2, 2),
                      rows,
                      visual_rows + rows};
  }
  int64_t rows, address_bytes;
  at::Tensor inputs, ids;
  Fusion::TextShape shape;
  Captured graph;
};

TextFuser::TextFuser(const Fusion* fusion, const DeviceStream* stream, at::Tensor embedding,
                     int64_t visual_rows, bool add_in_order)
    : fusion_(fusion),
      stream_(stream),
      embedding_(std::move(embedding)),
      visual_rows_(visual_rows),
      add_in_order_(add_in_order) {}

TextFuser::~TextFuser() = default;

void TextFuser::Prepare() {
  const at::Device device = embedding_.device();
  if (!device.is_cuda()) return;
  std::vector<int64_t> sizes;
  for (int64_t rows = 8; rows <= kMostShortRows; rows = ops::PaddedRows(rows + 1)) {
    sizes.push_back(rows);
  }
  const at::Tensor none = at::zeros({fusion_->layers() * visual_rows_ * 2, embedding_.size(1)},
                                    embedding_.options());  // what an address may point to
  for (auto rows = sizes.rbegin(); rows != sizes.rend(); ++rows) {
    auto graph = std::make_unique<Short>(*fusion_, visual_rows_, *rows, device);
    graph->shape.addresses.fill_(reinterpret_cast<int64_t>(none.data_ptr()));
    graph->shape.segments.first_query.copy_(at::tensor({int64_t{0}, *rows}));
    graph->shape.segments.first.copy_(at::tensor({int64_t{0}, visual_rows_ + *rows}));
    graph->graph = Captured(*stream_, [this, graph = graph.get()] {
      return fusion_->FuseText(Embed(graph->ids), graph->shape);
    });
    graphs_[*rows] = std::move(graph);
  }
}

at::Tensor TextFuser::Embed(const at::Tensor& ids) const {
  return ops::GatherRows(ids, ids, ids, embedding_, embedding_);  // all of them plain
}

at::Tensor TextFuser::FuseShort(const Batch& batch, const Short& graph) const {
  const std::vector<TokenId>& ids = batch.parts[0].text->ids;
  std::vector<int64_t> addresses;
  AppendAddresses(*batch.runs[0].image, addresses);
  std::vector<int32_t> inputs(graph.inputs.size(0), 0);
  std::memcpy(inputs.data(), addresses.data(), graph.address_bytes);
  int32_t* rest = inputs.data() + graph.address_bytes / 4;
  std::copy(ids.begin(), ids.end(), rest);
  rest[graph.rows + 1] = static_cast<int32_t>(ids.size());
  rest[graph.rows + 3] = static_cast<int32_t>(visual_rows_ + batch.rows);
  at::Tensor target = graph.inputs;
  target.copy_(Upload(inputs, target.device()), /*non_blocking=*/true);
  return graph.graph.Run().narrow(0, 0, batch.rows).clone();
}

at::Tensor TextFuser::FuseRows(const Batch& batch) const {
  if (batch.rows == 0) return embedding_.narrow(0, 0, 0);
  const auto graph = graphs_.lower_bound(batch.rows);
  if (batch.runs.size() == 1 && graph != graphs_.end() &&
      batch.runs[0].image->rows.size(2) == visual_rows_) {
    return FuseShort(batch, *graph->second);
  }
  std::vector<int32_t> ids;
  ids.reserve(batch.rows);
  for (const Batch::Part& part : batch.parts) {
    for (int64_t i = 0; i < part.images; ++i) {
      ids.insert(ids.end(), part.text->ids.begin(), part.text->ids.end());
    }
  }
  const at::Device device = embedding_.device();
  return fusion_->FuseText(Embed(Upload(ids, device)), fusion_->ShapeOf(batch.runs, device));
}

void TextFuser::Run(const Batch& batch) const {
  const at::Tensor x = FuseRows(batch);
  int64_t first = 0, run = 0;
  for (const Batch::Part& part : batch.parts) {
    FusedText& text = *part.text;
    const int64_t rows = part.images * static_cast<int64_t>(text.ids.size());
    const int64_t compressed = batch.runs[run].image->tokens.size(0);
    if (!text.tokens.defined()) {
      text.tokens = at::empty({text.images * compressed, x.size(1)}, x.options());
    }
    for (int64_t i = 0; i < part.images; ++i) {
      text.tokens.narrow(0, (text.fused + i) * compressed, compressed)
          .copy_(batch.runs[run + i].image->tokens, /*non_blocking=*/true);
    }
    Add(text, x.narrow(0, first, rows), part.images);
    text.fused += part.images;
    first += rows;
    run += part.images;
  }
}

void TextFuser::Add(FusedText& text, const at::Tensor& rows, int64_t images) const {
  if (text.images == 1) {
    text.text = rows;
    return;
  }
  const at::Tensor by_image = rows.view({images, static_cast<int64_t>(text.ids.size()), -1});
  if (!text.text.defined()) {
    text.text = at::zeros({by_image.size(1), by_image.size(2)}, rows.options().dtype(at::kFloat));
  }
  if (!add_in_order_) {
    text.text.add_(by_image.sum(0, /*keepdim=*/false, at::kFloat));
    return;
  }
  for (int64_t i = 0; i < images; ++i) text.text.add_(by_image[i]);
}

void AppendInputIds(absl::Span<const TokenId> prompt, const FusedText* fused, int64_t made,
                    std::vector<int32_t>& ids) {
  if (fused == nullptr) {
    ids.insert(ids.end(), prompt.begin(), prompt.end());
    return;
  }
  int64_t text = made, token = made + static_cast<int64_t>(fused->ids.size());
  for (const TokenId id : prompt) {
    if (id == kImagePlaceholder) {
      for (int64_t i = 0; i < fused->tokens.size(0); ++i) {
        ids.push_back(static_cast<int32_t>(-2 - token++));
      }
    } else {
      ids.push_back(id > 0 ? static_cast<int32_t>(-2 - text++) : id);
    }
  }
}

}  // namespace llavamini
