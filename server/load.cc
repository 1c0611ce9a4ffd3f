#include "server/load.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/memory_plan.h"
#include "model/text/prompt.h"

namespace llavamini {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr double kGiB = 1 << 30;
constexpr absl::Duration kBetweenReports = absl::Seconds(1);
constexpr int64_t kLeastCallMemory = 1024 * kMiB;
constexpr int kMostPrepareThreads = 8;

absl::Status WrongCheckpoint(const absl::Status& status) {
  return absl::InvalidArgumentError(status.message());
}

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::string NameOf(const ServerOptions& options) {
  if (!options.model_name.empty()) return options.model_name;
  std::filesystem::path folder = std::filesystem::absolute(options.model).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  return folder.filename().string();
}

// Says about once a second how far the weights are.
std::function<void(int64_t, int64_t)> ProgressLog() {
  return [next = absl::Now() + kBetweenReports](int64_t done, int64_t total) mutable {
    if (absl::Now() < next) return;
    next = absl::Now() + kBetweenReports;
    spdlog::info("loading: {:.1f} of {:.1f} GiB", done / kGiB, total / kGiB);
  };
}

int ThreadsFor(const ServerOptions& options) {
  if (options.prepare_threads > 0) return static_cast<int>(options.prepare_threads);
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(cores, 1, kMostPrepareThreads);
}

// Room for all pictures of the largest request at high detail, and for its file.
int64_t CallMemory(const ServedModel& model, int64_t max_frames) {
  const int64_t ratio = std::max(2, model.resolution_ratio);
  const int64_t picture = (ratio * ratio + 1) * model.image_side * model.image_side * 3;
  return std::max(kLeastCallMemory, max_frames * picture + 64 * kMiB);
}

}  // namespace

absl::StatusOr<CheckpointFacts> LoadFacts(const ServerOptions& options) {
  const std::filesystem::path folder = options.model;
  CheckpointFacts facts;
  absl::StatusOr<ModelConfig> config = LoadModelConfig(folder);
  if (!config.ok()) return WrongCheckpoint(config.status());
  facts.config = *std::move(config);
  absl::StatusOr<GenerationDefaults> defaults = LoadGenerationDefaults(folder);
  if (!defaults.ok()) return WrongCheckpoint(defaults.status());
  facts.defaults = *std::move(defaults);
  auto tokenizer = Tokenizer::Load(folder / "tokenizer.json", facts.config.vocab_size);
  if (!tokenizer.ok()) return WrongCheckpoint(tokenizer.status());
  facts.tokenizer = *std::move(tokenizer);
  const absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::Create(*facts.tokenizer);
  if (!chat_template.ok()) return WrongCheckpoint(chat_template.status());

  const std::vector<int64_t>& ends = facts.defaults.eos_token_ids.empty()
                                         ? facts.config.eos_token_ids
                                         : facts.defaults.eos_token_ids;
  for (const int64_t id : ends) facts.end_tokens.push_back(static_cast<TokenId>(id));
  const int64_t most = facts.config.max_position_embeddings;
  if (options.max_context_tokens > most) {
    return absl::OutOfRangeError(absl::StrCat(
        "--max-context-tokens: must be at most the checkpoint's max_position_embeddings ", most));
  }
  facts.max_context_tokens = options.max_context_tokens > 0
                                 ? options.max_context_tokens
                                 : std::min(facts.config.tokenizer_model_max_length, most);
  return facts;
}

LoadOptions MakeLoadOptions(const ServerOptions& options, const CheckpointFacts& facts) {
  LoadOptions load;
  load.folder = options.model;
  if (!options.vision_tower.empty()) load.vision_tower = options.vision_tower;
  load.device = options.device;
  load.dtype = options.dtype;
  load.threads = static_cast<int>(options.threads);
  load.dummy_weights = options.load_format == LoadFormat::kDummy;
  load.quantization = options.quantization;
  load.deterministic = options.deterministic;
  load.max_running = static_cast<int32_t>(options.max_running);
  load.max_context_tokens = facts.max_context_tokens;
  load.max_images_per_batch = static_cast<int32_t>(options.max_images_per_batch);
  load.max_step_rows = options.max_step_rows;
  if (options.kv_cache_tokens > 0) {
    load.kv_pages = static_cast<int32_t>(
        CeilDivide(std::max(options.kv_cache_tokens, facts.max_context_tokens), kPageTokens));
  }
  load.device_memory_limit_bytes = static_cast<int64_t>(options.gpu_memory_limit_gib * kGiB);
  load.gpu_memory_utilization = options.gpu_memory_utilization;
  load.image_cache_bytes = options.image_cache_mib * kMiB;
  load.image_cache_host_bytes = options.image_cache_host_mib * kMiB;
  load.tuning_cache = options.tuning_cache;
  return load;
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ServerOptions& options,
                                                 const CheckpointFacts& facts) {
  LoadOptions load = MakeLoadOptions(options, facts);
  load.progress = ProgressLog();
  return LoadLlavaMini(load, facts.config);
}

ChatStackOptions MakeStackOptions(const ServerOptions& options, const CheckpointFacts& facts,
                                  const ModelFacts& model) {
  ChatStackOptions stack;
  stack.model.name = NameOf(options);
  stack.model.vocab_size = facts.config.vocab_size;
  stack.model.max_context_tokens = facts.max_context_tokens;
  stack.model.tokens_per_image = model.tokens_per_image;
  stack.model.resolution_ratio = static_cast<int>(facts.config.resolution_ratio);
  stack.model.image_side = static_cast<int>(facts.config.vision.image_size);
  stack.model.pad_to_square = facts.config.pad_to_square;
  stack.model.defaults = facts.defaults;
  stack.limits.max_frames = options.max_frames;
  stack.engine.max_running = static_cast<int32_t>(options.max_running);
  stack.engine.max_step_rows = options.max_step_rows;
  stack.engine.max_images_per_batch = static_cast<int32_t>(options.max_images_per_batch);
  stack.engine.max_images_ahead =
      static_cast<int32_t>(kImageBatchesAhead * options.max_images_per_batch);
  stack.engine.max_rows_ahead = kStepsAhead * options.max_step_rows;
  stack.engine.max_waiting = static_cast<int32_t>(options.max_waiting);
  stack.end_tokens = facts.end_tokens;
  stack.image_cache_bytes = static_cast<size_t>(model.memory.image_cache);
  // A model on the CPU keeps its images in the host's memory anyway.
  const int64_t host_mib = model.device == "cpu" ? 0 : options.image_cache_host_mib;
  stack.image_cache_host_bytes = static_cast<size_t>(host_mib * kMiB);
  stack.memory_bytes = CallMemory(stack.model, options.max_frames);
  stack.prepare_threads = ThreadsFor(options);
  stack.max_prepare_queue = static_cast<int>(options.max_waiting);
  return stack;
}

std::string DescribeMemory(const ModelFacts& model, const ChatStackOptions& stack) {
  const std::string host =
      stack.image_cache_host_bytes == 0
          ? ""
          : absl::StrCat("images up to ", stack.image_cache_host_bytes / kMiB, " MiB, ");
  return absl::StrCat("memory: ", DescribePlan(model.memory), "; ", model.parameters,
                      " parameters, ", model.dtype, "; in the host's memory ", host,
                      "uploads and pictures up to ", stack.memory_bytes / kMiB, " MiB");
}

}  // namespace llavamini
