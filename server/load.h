// From a checkpoint folder to a warm model. Called once, by main's thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/model_config.h"
#include "model/llava_mini.h"
#include "model/model.h"
#include "model/text/tokenizer.h"
#include "server/engine/engine.h"
#include "server/options.h"
#include "server/prepare/chat_stack.h"

namespace llavamini {

// Configuration and tokenizer: small files, checked before the weights are read.
struct CheckpointFacts {
  ModelConfig config;
  GenerationDefaults defaults;
  std::unique_ptr<const Tokenizer> tokenizer;
  std::vector<TokenId> end_tokens;
  int64_t max_context_tokens = 0;
};

// INVALID_ARGUMENT: a file of the checkpoint is wrong. OUT_OF_RANGE: a flag does not fit the
// checkpoint.
absl::StatusOr<CheckpointFacts> LoadFacts(const ServerOptions& options);

// What the flags and the checkpoint ask of the model.
LoadOptions MakeLoadOptions(const ServerOptions& options, const CheckpointFacts& facts);

// The weights on their device; logs how far they are. Errors as LoadLlavaMini's.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ServerOptions& options,
                                                 const CheckpointFacts& facts);

ChatStackOptions MakeStackOptions(const ServerOptions& options, const CheckpointFacts& facts,
                                  const ModelFacts& model);

// Runs a question with a picture and one without through the engine: everything is allocated and
// compiled when it returns.
absl::Status WarmUp(Engine& engine, const Tokenizer& tokenizer, const ServedModel& model);

// The start-up line with what the memory is for.
std::string DescribeMemory(const ModelFacts& model, const ChatStackOptions& stack);

}  // namespace llavamini
