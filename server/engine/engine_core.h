// The engine without its thread: one RunStep() at a time. Engine's thread drives it in the server,
// the simulator in tests. Not thread-safe, the cancel flags of requests and the image cache
// excepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
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
#include "server/engine/vision_work.h"

namespace llavamini {

// What the options and the model allow.
SchedulerLimits LimitsOf(const EngineOptions& options, const ModelFacts& facts);
VisionLimits VisionLimitsOf(const EngineOptions& options, const ModelFacts& facts);

class EngineCore {
 public:
  // model, tokenizer and cache outlive it.
  EngineCore(const EngineOptions& options, Model* model, const Tokenizer* tokenizer,
             ImageCache* cache, std::vector<TokenId> end_tokens,
             std::unique_ptr<Scheduler> scheduler);

  // The request's sink hears of everything from now on, a refusal included (statuses as of
  // Scheduler::Arrive).
  void Arrive(std::unique_ptr<Request> request);

  // Ends what was cancelled or is late, then takes the images, the next step and the answers of the
  // step before it one loop further. False when there was nothing to do: nothing will be before an
  // arrival, a cancel or NextDeadline().
  bool RunStep();

  // Ends every request with `reason`, and waits for the steps in flight.
  void EndAll(const absl::Status& reason);

  // No request is here, and nothing of them on the device.
  bool idle() const { return sequences_.empty() && in_flight_.empty() && vision_.idle(); }
  int64_t room() const { return scheduler_->room(); }  // requests that may arrive now
  absl::Time NextDeadline() const { return scheduler_->NextDeadline(); }
  EngineStats stats() const;

  // The model said ABORTED: every request was ended with UNAVAILABLE, and no more may arrive.
  bool device_lost() const { return device_lost_; }

 private:
  bool EndCancelled();
  bool EndLate();
  std::vector<Sequence*> WithImages();
  bool Fuse(bool anyone_runs);
  bool Encode(const VisionLoad& load);
  bool EndBlind(const std::vector<Sequence*>& waiting, const absl::StatusOr<bool>& worked);
  VisionLoad LoadOf(const Step& step);
  bool Launch(Step step);
  absl::Status Start(const Step& step);
  void LaunchInParts(const Step& step);
  bool CollectUntil(size_t in_flight);
  void Collect();
  void Deliver(RequestNumber number, SampledToken sampled, absl::Time now);
  void Fail(RequestNumber number, const absl::Status& failure);
  void LoseDevice();
  void Finish(RequestNumber number, const absl::Status& status, FinishReason reason);
  void End(Sequence& sequence, const absl::Status& status, FinishReason reason);
  Sequence* Find(RequestNumber number);  // null: it has ended

  const EngineOptions options_;
  Model* const model_;
  const Tokenizer* const tokenizer_;
  const std::vector<TokenId> end_tokens_;
  const std::unique_ptr<Scheduler> scheduler_;
  VisionWork vision_;
  std::map<RequestNumber, Sequence> sequences_;  // exactly those that the scheduler knows
  // Requests by row, of the steps that are launched and not collected, oldest first. A request that
  // has ended meanwhile is unknown by then: its surplus token is dropped.
  std::deque<std::vector<RequestNumber>> in_flight_;
  RequestNumber next_number_ = 1;
  bool device_lost_ = false;
};

}  // namespace llavamini
