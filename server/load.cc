#include "server/load.h"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/llava_mini.h"
#include "model/text/prompt.h"

namespace llavamini {
namespace {

constexpr int64_t kMiB = 1 << 20;
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

int64_t BytesPerElement(const std::string& dtype) { return dtype == "float32" ? 4 : 2; }

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

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ServerOptions& options,
                                                 const CheckpointFacts& facts) {
  LoadOptions load;
  load.folder = options.model;
  if (!options.vision_tower.empty()) load.vision_tower = options.vision_tower;
  load.device = options.device;
  load.dtype = options.dtype;
  load.threads = static_cast<int>(options.threads);
  load.kv_pages = static_cast<int32_t>(
      CeilDivide(std::max(options.kv_cache_tokens, facts.max_context_tokens), kPageTokens));
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
  stack.engine.max_waiting = static_cast<int32_t>(options.max_waiting);
  stack.end_tokens = facts.end_tokens;
  stack.image_cache_bytes = static_cast<size_t>(options.image_cache_mib * kMiB);
  stack.memory_bytes = CallMemory(stack.model, options.max_frames);
  stack.prepare_threads = ThreadsFor(options);
  stack.max_prepare_queue = static_cast<int>(options.max_waiting);
  return stack;
}

std::string DescribeMemory(const ModelConfig& config, const ModelFacts& model,
                           const ChatStackOptions& stack) {
  const int64_t element = BytesPerElement(model.dtype);
  const int64_t tokens = int64_t{model.pages} * kPageTokens;
  const int64_t kv_bytes = tokens * 2 * config.num_hidden_layers * config.num_key_value_heads *
                           config.head_dim * element;
  return absl::StrCat("memory: weights ", model.parameters * element / kMiB, " MiB (",
                      model.parameters, " parameters, ", model.dtype, "), key-value cache ",
                      kv_bytes / kMiB, " MiB (", tokens, " tokens), image cache up to ",
                      stack.image_cache_bytes / kMiB, " MiB, uploads and pictures up to ",
                      stack.memory_bytes / kMiB, " MiB");
}

}  // namespace llavamini
