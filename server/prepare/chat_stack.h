// Everything between the interfaces and the model, put together once: cache, engine, prepare pool,
// backend. Made and ended by main's thread; what it holds says itself who may call it.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/engine/image_cache.h"
#include "server/prepare/chat_backend.h"
#include "server/prepare/memory_budget.h"
#include "server/prepare/prepare.h"
#include "server/prepare/prepare_pool.h"
#include "server/prepare/served_model.h"

namespace llavamini {

struct ChatStackOptions {
  ServedModel model;
  CallLimits limits;
  EngineOptions engine;
  std::vector<TokenId> end_tokens;    // ids that end an answer
  size_t image_cache_bytes = 0;       // on the model's device
  size_t image_cache_host_bytes = 0;  // for what falls out of it
  int64_t memory_bytes = 0;           // uploads and pictures of all calls together
  int prepare_threads = 1;
  int max_prepare_queue = 256;
};

class ChatStack {
 public:
  // Model and tokenizer outlive the stack. Refuses a tokenizer without the chat format's special
  // tokens, by name.
  static absl::StatusOr<std::unique_ptr<ChatStack>> Create(const ChatStackOptions& options,
                                                           Model* model,
                                                           const Tokenizer* tokenizer);
  // Ends what is still running.
  ~ChatStack();

  ChatBackend& backend() { return backend_; }
  Engine& engine() { return engine_; }

 private:
  ChatStack(const ChatStackOptions& options, Model* model, const Tokenizer* tokenizer,
            const ChatTemplate& chat_template);
  ChatBackend::Parts BackendParts();

  const ChatStackOptions options_;
  const std::shared_ptr<MemoryBudget> memory_;
  ImageCache cache_;
  Engine engine_;
  std::unique_ptr<PreparePool> pool_;
  const Preparer preparer_;
  ChatBackend backend_;
};

}  // namespace llavamini
