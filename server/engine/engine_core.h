// The engine without its thread: one RunStep() at a time. Engine's thread drives it in the server,
// the simulator in tests. Not thread-safe, the cancel flags of requests and the image cache
// excepted.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/model.h"
#include "model/text/tokenizer.h"
#include "server/engine/engine.h"
#include "server/engine/image_cache.h"
#include "server/engine/request.h"
#include "server/engine/scheduler.h"
#include "server/engine/sequence.h"

namespace llavamini {

// What the options and the model's pages allow.
SchedulerLimits LimitsOf(const EngineOptions& options, const ModelFacts& facts);

class EngineCore {
 public:
  // model, tokenizer and cache outlive it.
  EngineCore(const EngineOptions& options, Model* model, const Tokenizer* tokenizer,
             ImageCache* cache, std::vector<TokenId> end_tokens,
             std::unique_ptr<Scheduler> scheduler);

  // The request's sink hears of everything from now on, a refusal included (statuses as of
  // Scheduler::Arrive).
  void Arrive(std::unique_ptr<Request> request);

  // Ends what was cancelled or is late, then works on all others. False when there was nothing to
  // do: nothing will be before an arrival, a cancel or NextDeadline().
  bool RunStep();

  // Ends every request with `reason`.
  void EndAll(const absl::Status& reason);

  bool idle() const { return sequences_.empty(); }
  int64_t room() const { return scheduler_->room(); }  // requests that may arrive now
  absl::Time NextDeadline() const { return scheduler_->NextDeadline(); }
  EngineStats stats() const;

  // The model said ABORTED: every request was ended with UNAVAILABLE, and no more may arrive.
  bool device_lost() const { return device_lost_; }

 private:
  bool EndCancelled();
  void MarkStarted(const Step& step, absl::Time now);
  void Encode(const std::vector<Step::Images>& work);
  void Prefill(const std::vector<Step::Prompt>& work);
  void Decode(const std::vector<RequestNumber>& work);
  void Deliver(RequestNumber number, absl::StatusOr<SampledToken> sampled);
  void Fail(RequestNumber number, const absl::Status& failure);
  void Finish(RequestNumber number, const absl::Status& status, FinishReason reason);
  void End(Sequence& sequence, const absl::Status& status, FinishReason reason);
  Sequence* Find(RequestNumber number);  // null: it has ended

  const EngineOptions options_;
  Model* const model_;
  const Tokenizer* const tokenizer_;
  ImageCache* const cache_;
  const std::vector<TokenId> end_tokens_;
  const std::unique_ptr<Scheduler> scheduler_;
  std::map<RequestNumber, Sequence> sequences_;  // exactly those that the scheduler knows
  RequestNumber next_number_ = 1;
  bool device_lost_ = false;
};

}  // namespace llavamini
