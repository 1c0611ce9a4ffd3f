// What the device's memory is for: decided once, before anything large is allocated, from the
// configuration and the limits alone. Pure functions; no torch.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/model_config.h"

namespace llavamini {

// Rows of the language model's key-value cache come in pages of this many.
inline constexpr int kPageTokens = 16;

// What may be made before its turn, and is planned for: images that are encoded and not fused yet,
// in batches, and rows of prompts whose fusion has begun, in whole steps.
inline constexpr int64_t kImageBatchesAhead = 2;
inline constexpr int64_t kStepsAhead = 4;

// Rows that go through an MLP, whose inner rows are by far the widest, at once, and texts' rows
// that are fused at once. More are cut into slices of equal size.
inline constexpr int64_t kMostMlpRows = 5120;
inline constexpr int64_t kMostTextRows = 4096;

// What is wanted, and what there is.
struct MemoryRequest {
  int64_t element_bytes = 2;
  bool fp8 = false;  // the products of the LLaMA blocks in one byte per weight
  int64_t max_running = 64;
  int64_t max_context_tokens = 4096;
  int64_t max_images_per_batch = 8;
  int64_t max_step_rows = 1024;
  int64_t kv_pages = 0;           // 0: all that is left
  int64_t image_cache_bytes = 0;  // at most; less where memory is short
  int64_t limit_bytes = 0;        // that this process may take
  int64_t free_bytes = 0;         // of the device, before the weights are loaded
};

// In bytes, the pages excepted. A field that is 0 takes nothing.
struct MemoryPlan {
  int64_t weights = 0;
  int64_t activations = 0;   // of the largest step or vision batch, and of the longest prompt
  int64_t visual_slots = 0;  // encoded images that requests in flight hold
  int64_t overhead = 0;      // CUDA's context, libraries and their workspaces
  int64_t image_cache = 0;
  int64_t kv_cache = 0;
  int64_t kv_pages = 0;
  int64_t available = 0;  // 0: not limited (a CPU)
};

// Elements of the tensors that are loaded (CLIP's blocks behind the features are not), with a
// separate lm_head.
int64_t WeightElements(const ModelConfig& config);
// The same as they lie on the device.
int64_t WeightBytes(const ModelConfig& config, int64_t element_bytes, bool fp8);

// What one encoded image takes at this level of detail.
int64_t EncodedImageBytes(const ModelConfig& config, int64_t resolution_ratio,
                          int64_t element_bytes);
int64_t PageBytes(const ModelConfig& config, int64_t element_bytes);

// On a GPU. The key-value cache holds at least one whole context. The image cache keeps a minimum;
// above it the key-value cache comes first, until every place has a comfortable chat.
// RESOURCE_EXHAUSTED, in one line with the figures, when it does not fit.
absl::StatusOr<MemoryPlan> PlanMemory(const ModelConfig& config, const MemoryRequest& request);

// On a CPU: nothing is limited, kv_pages 0 is a default.
MemoryPlan PlanCpuMemory(const ModelConfig& config, const MemoryRequest& request);

// "weights 17.2 GiB, key-value cache 5.1 GiB (41,728 tokens), ...": one line.
std::string DescribePlan(const MemoryPlan& plan);

}  // namespace llavamini
