#include "model/memory_plan.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace llavamini {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;
constexpr int64_t kContextBytes = kGiB;  // CUDA's context, graphs, the libraries' code on the GPU
constexpr int64_t kWorkspaceBytes = 64 * kMiB;  // of cuBLAS
constexpr int64_t kLeastCachedImages = 8;
constexpr int64_t kComfortableChat = 1024;  // tokens
constexpr int64_t kCpuTokens = 65536;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t QkvWidth(const ModelConfig& config) {
  return (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim;
}

// Of one LLaMA block: the products' weights, and the rows of them.
int64_t ProductElements(const ModelConfig& config) {
  const int64_t d = config.hidden_size, attended = config.num_attention_heads * config.head_dim;
  return QkvWidth(config) * d + d * attended + 3 * config.intermediate_size * d;
}
int64_t ProductRows(const ModelConfig& config) {
  return QkvWidth(config) + 2 * config.hidden_size + 2 * config.intermediate_size;
}

int64_t Blocks(const ModelConfig& config) {
  return config.num_hidden_layers + config.prefusion_layer_num;
}

int64_t ClipElements(const ModelConfig& config) {
  const VisionConfig& clip = config.vision;
  const int64_t width = clip.hidden_size, inner = clip.intermediate_size;
  const int64_t blocks = clip.num_hidden_layers + 1 + config.vision_select_layer;  // that are run
  const int64_t attention = 4 * (width * width + width);
  const int64_t block = attention + 2 * width * inner + inner + width + 4 * width;
  const int64_t positions = clip.patches() + 1;
  const int64_t embeddings = width + 3 * clip.patch_size * clip.patch_size * width;
  return embeddings + positions * width + 2 * width + blocks * block;
}

int64_t CompressorAndProjectorElements(const ModelConfig& config) {
  const int64_t width = config.vision.hidden_size, d = config.hidden_size;
  const int64_t attention = 4 * (width * width + width);
  const int64_t compressor = 2 * config.compressed_tokens() * width + attention + 4 * width;
  return compressor + width * d + d + d * d + d;
}

int64_t PartsOfImage(int64_t ratio) { return ratio > 1 ? ratio * ratio + 1 : 1; }

// Rows of one image in pre-fusion: tiles, whole, compressed.
int64_t VisualRows(const ModelConfig& config, int64_t ratio) {
  return PartsOfImage(ratio) * config.vision.patches() + config.compressed_tokens();
}

// Elements of rows in LLaMA blocks: residuals and what attention reads and makes; then, of as many
// as go through the MLP at once, its inner rows and their neighbours.
int64_t RowsElements(const ModelConfig& config, int64_t rows) {
  const int64_t whole = 5 * config.hidden_size + QkvWidth(config);
  const int64_t sliced = 3 * config.intermediate_size + 2 * config.hidden_size;
  return rows * whole + std::min(rows, kMostMlpRows) * sliced;
}

// Pixels, rows between pieces and results of the largest vision batch, which are never given back.
int64_t VisionBatchBytes(const ModelConfig& config, const MemoryRequest& request) {
  const VisionConfig& clip = config.vision;
  const int64_t parts = PartsOfImage(config.resolution_ratio);
  const int64_t elements = parts * (clip.patches() + 1) * clip.hidden_size +
                           VisualRows(config, config.resolution_ratio) * config.hidden_size;
  const int64_t image = parts * 3 * clip.image_size * clip.image_size +
                        elements * request.element_bytes +
                        EncodedImageBytes(config, config.resolution_ratio, request.element_bytes);
  return request.max_images_per_batch * image;
}

// Graphs share the memory of the largest of them; what runs without one has its own.
int64_t ActivationBytes(const ModelConfig& config, const MemoryRequest& request) {
  const VisionConfig& clip = config.vision;
  const int64_t ratio = config.resolution_ratio, images = request.max_images_per_batch;
  const int64_t clip_rows = images * PartsOfImage(ratio) * (clip.patches() + 1);
  const int64_t in_graphs =
      std::max({clip_rows * (clip.intermediate_size + 7 * clip.hidden_size),
                RowsElements(config, images * VisualRows(config, ratio)),
                RowsElements(config, std::max(request.max_step_rows, request.max_running))});
  // Text rows attend to those of images, which are copied beside them.
  const int64_t packed =
      images * VisualRows(config, ratio) * 2 * config.num_key_value_heads * config.head_dim;
  const int64_t direct = std::max(RowsElements(config, request.max_context_tokens),
                                  RowsElements(config, kMostTextRows) + packed);
  const int64_t fused = kStepsAhead * request.max_step_rows * config.hidden_size;  // sums
  const int64_t logits = request.max_running * config.vocab_size;
  return (in_graphs + direct) * request.element_bytes + (fused + logits) * int64_t{sizeof(float)} +
         VisionBatchBytes(config, request);
}

std::string SizeText(int64_t bytes) {
  if (bytes < kGiB) return absl::StrCat(bytes / kMiB, " MiB");
  return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / kGiB);
}

std::string GibText(int64_t bytes) {
  return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / kGiB);
}

int64_t Sum(const MemoryPlan& plan) {
  return plan.weights + plan.activations + plan.visual_slots + plan.overhead + plan.image_cache +
         plan.kv_cache;
}

absl::Status DoesNotFit(const MemoryPlan& plan) {
  std::array<std::pair<int64_t, const char*>, 6> items = {{{plan.weights, "weights"},
                                                           {plan.kv_cache, "key-value cache"},
                                                           {plan.activations, "activations"},
                                                           {plan.visual_slots, "images in flight"},
                                                           {plan.image_cache, "image cache"},
                                                           {plan.overhead, "CUDA"}}};
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string largest;
  for (const auto& [bytes, name] : {items[0], items[1], items[2]}) {
    absl::StrAppend(&largest, largest.empty() ? "" : ", ", name, " ", GibText(bytes));
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("too little GPU memory: at least ", GibText(Sum(plan)), " needed (", largest,
                   ", ...), ", GibText(plan.available), " available"));
}

// All that does not stretch, on a GPU.
MemoryPlan FixedPart(const ModelConfig& config, const MemoryRequest& request) {
  MemoryPlan plan;
  plan.available = std::min(request.limit_bytes, request.free_bytes);
  plan.weights = WeightBytes(config, request.element_bytes, request.fp8);
  plan.activations = ActivationBytes(config, request);
  plan.visual_slots = kImageBatchesAhead * request.max_images_per_batch *
                      EncodedImageBytes(config, config.resolution_ratio, request.element_bytes);
  plan.overhead = kContextBytes + kWorkspaceBytes;
  return plan;
}

}  // namespace

int64_t WeightElements(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  return Blocks(config) * (ProductElements(config) + 2 * d) + 2 * config.vocab_size * d + d +
         ClipElements(config) + CompressorAndProjectorElements(config);
}

int64_t WeightBytes(const ModelConfig& config, int64_t element_bytes, bool fp8) {
  const int64_t all = WeightElements(config) * element_bytes;
  if (!fp8) return all;
  const int64_t saved = ProductElements(config) * (element_bytes - 1);
  const int64_t scales = ProductRows(config) * int64_t{sizeof(float)};
  return all - Blocks(config) * (saved - scales);
}

int64_t EncodedImageBytes(const ModelConfig& config, int64_t resolution_ratio,
                          int64_t element_bytes) {
  const int64_t row = 2 * config.num_key_value_heads * config.head_dim;  // key and value
  const int64_t kept = config.prefusion_layer_num * VisualRows(config, resolution_ratio) * row;
  return (kept + config.compressed_tokens() * config.hidden_size) * element_bytes;
}

int64_t PageBytes(const ModelConfig& config, int64_t element_bytes) {
  return kPageTokens * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim *
         element_bytes;
}

absl::StatusOr<MemoryPlan> PlanMemory(const ModelConfig& config, const MemoryRequest& request) {
  const int64_t page = PageBytes(config, request.element_bytes);
  const int64_t context_pages = CeilDivide(request.max_context_tokens, kPageTokens);
  const auto set_pages = [page](MemoryPlan& plan, int64_t pages) {
    plan.kv_pages = pages;
    plan.kv_cache = pages * page;
  };
  MemoryPlan plan = FixedPart(config, request);
  const int64_t image = EncodedImageBytes(config, config.resolution_ratio, request.element_bytes);
  plan.image_cache = std::min(request.image_cache_bytes, kLeastCachedImages * image);
  set_pages(plan, std::max(context_pages, request.kv_pages));
  if (Sum(plan) > plan.available) return DoesNotFit(plan);

  const auto rest = [&plan] { return plan.available - Sum(plan); };
  const auto add_pages = [&](int64_t most) {
    set_pages(plan, std::clamp(plan.kv_pages + rest() / page, plan.kv_pages,
                               std::max(most, plan.kv_pages)));
  };
  if (request.kv_pages == 0) {
    add_pages(CeilDivide(std::min(kComfortableChat, request.max_context_tokens), kPageTokens) *
              request.max_running);
  }
  plan.image_cache = std::min(request.image_cache_bytes, plan.image_cache + rest());
  if (request.kv_pages == 0) add_pages(context_pages * request.max_running);
  return plan;
}

MemoryPlan PlanCpuMemory(const ModelConfig& config, const MemoryRequest& request) {
  MemoryPlan plan;
  plan.weights = WeightBytes(config, request.element_bytes, /*fp8=*/false);
  plan.image_cache = request.image_cache_bytes;
  const int64_t wanted = request.kv_pages > 0 ? request.kv_pages : kCpuTokens / kPageTokens;
  plan.kv_pages = std::max(wanted, CeilDivide(request.max_context_tokens, kPageTokens));
  plan.kv_cache = plan.kv_pages * PageBytes(config, request.element_bytes);
  return plan;
}

std::string DescribePlan(const MemoryPlan& plan) {
  std::string text = absl::StrCat("weights ", SizeText(plan.weights), ", key-value cache ",
                                  SizeText(plan.kv_cache), " (", plan.kv_pages * kPageTokens,
                                  " tokens), image cache up to ", SizeText(plan.image_cache));
  const std::pair<const char*, int64_t> gpu_items[] = {{"activations", plan.activations},
                                                       {"images in flight", plan.visual_slots},
                                                       {"CUDA", plan.overhead}};
  for (const auto& [name, bytes] : gpu_items) {
    if (bytes > 0) absl::StrAppend(&text, ", ", name, " ", SizeText(bytes));
  }
  if (plan.available > 0) {
    absl::StrAppend(&text, "; ", GibText(Sum(plan)), " of ", GibText(plan.available));
  }
  return text;
}

}  // namespace llavamini
