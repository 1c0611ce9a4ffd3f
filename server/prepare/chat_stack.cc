#include "server/prepare/chat_stack.h"

namespace llavamini {

absl::StatusOr<std::unique_ptr<ChatStack>> ChatStack::Create(const ChatStackOptions& options,
                                                             Model* model,
                                                             const Tokenizer* tokenizer) {
  const absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::Create(*tokenizer);
  if (!chat_template.ok()) return chat_template.status();
  return std::unique_ptr<ChatStack>(new ChatStack(options, model, tokenizer, *chat_template));
}

ChatStack::ChatStack(const ChatStackOptions& options, Model* model, const Tokenizer* tokenizer,
                     const ChatTemplate& chat_template)
    : options_(options),
      memory_(MemoryBudget::Create(options.memory_bytes)),
      cache_(options.image_cache_bytes, options.image_cache_host_bytes),
      engine_(options.engine, model, tokenizer, &cache_, options.end_tokens),
      pool_(std::make_unique<PreparePool>(options.prepare_threads, options.max_prepare_queue)),
      preparer_(&options_.model, &options_.limits, chat_template,
                ImagePreparer(&options_.model, &options_.limits, &cache_, memory_, pool_.get())),
      backend_(BackendParts()) {
  engine_.Start();
}

ChatStack::~ChatStack() {
  backend_.StartDraining();
  pool_.reset();  // its last jobs still reach the engine
}

ChatBackend::Parts ChatStack::BackendParts() {
  ChatBackend::Parts parts;
  parts.model = &options_.model;
  parts.limits = &options_.limits;
  parts.preparer = &preparer_;
  parts.pool = pool_.get();
  parts.engine = &engine_;
  parts.memory = memory_;
  parts.max_waiting = options_.engine.max_waiting;
  return parts;
}

}  // namespace llavamini
