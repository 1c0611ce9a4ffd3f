// The way of a call through the server, for every interface: validated and admitted on the
// interface's thread, prepared on the pool, answered by the engine into the call's sink.
// Thread-safe; nothing here blocks.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/prepare/chat_call.h"
#include "server/prepare/interrupt.h"
#include "server/prepare/memory_budget.h"
#include "server/prepare/prepare.h"
#include "server/prepare/prepare_pool.h"

namespace llavamini {

struct TokenCount {
  Usage usage;  // prompt_tokens, vision_tokens and images
  int64_t remaining_tokens = 0;
};

class ChatBackend {
 public:
  // All outlive the backend.
  struct Parts {
    const ServedModel* model = nullptr;
    const CallLimits* limits = nullptr;
    const Preparer* preparer = nullptr;
    PreparePool* pool = nullptr;
    Engine* engine = nullptr;
    std::shared_ptr<MemoryBudget> memory;
    int64_t max_waiting = 0;  // the engine's
  };
  explicit ChatBackend(Parts parts) : parts_(std::move(parts)) {}

  // OK: `sink` hears OnProgress(kQueued) once the engine has the call, whether it wants progress or
  // not, and OnFinished exactly once. Not OK: refused, and the sink hears nothing. call.request_id
  // is set.
  absl::Status Submit(ChatCall call, std::shared_ptr<AnswerSink> sink, CancelFlag cancelled);

  // OK: `done` is called exactly once, from the pool. A prompt longer than the context is counted,
  // with nothing remaining.
  using CountDone = absl::AnyInvocable<void(absl::StatusOr<TokenCount>)>;
  absl::Status Count(ChatCall call, CancelFlag cancelled, CountDone done);

  // Ends the work on a call soon, wherever it is.
  void Cancel(const CancelFlag& cancelled);

  // From now on calls are refused with UNAVAILABLE.
  void StartDraining() { draining_.store(true, std::memory_order_relaxed); }

  const ServedModel& model() const { return *parts_.model; }
  const CallLimits& limits() const { return *parts_.limits; }
  EngineStats stats() const { return parts_.engine->stats(); }

 private:
  absl::Status Admit(ChatCall& call) const;
  absl::Status Enqueue(PreparePool::Job job);
  absl::Status PrepareAndSubmit(ChatCall call, const std::shared_ptr<AnswerSink>& sink,
                                const Interrupt& interrupt, absl::Time admitted);

  const Parts parts_;
  std::atomic<bool> draining_{false};
};

}  // namespace llavamini
