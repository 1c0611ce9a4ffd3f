// The one thread that owns the model, the key-value pages and every sequence's state.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/model.h"
#include "model/text/tokenizer.h"
#include "server/engine/image_cache.h"
#include "server/engine/request.h"

namespace llavamini {

struct EngineOptions {
  int32_t max_running = 64;      // sequences that decode together; at most the model's places
  int32_t max_waiting = 256;     // requests taken but not yet running
  int64_t max_step_rows = 1024;  // of one step: sequences and prompts, its first prompt excepted
  int32_t max_images_per_batch = 8;  // encoded together; at most the model's
  // Encoded images of waiting requests that are not fused yet. A request with more images than this
  // does not fill the image cache.
  int32_t max_images_ahead = 64;
  // Prompt rows of waiting requests whose fusion has begun; the oldest of them may exceed it.
  int64_t max_rows_ahead = 16384;
  std::function<absl::Time()> clock = absl::Now;
  // Called once, on the engine's thread and as its last act, when the device is lost: every request
  // has ended with UNAVAILABLE and no more are taken. The process should end; Stop() must not be
  // called from within.
  std::function<void()> on_device_lost;
};

struct EngineStats {
  int64_t running = 0;
  int64_t waiting = 0;
  double kv_cache_usage = 0;  // share of pages in use
};

class Engine {
 public:
  // model, tokenizer and cache outlive the engine. eos_token_ids end an answer.
  Engine(const EngineOptions& options, Model* model, const Tokenizer* tokenizer, ImageCache* cache,
         std::vector<TokenId> eos_token_ids);
  ~Engine();  // stops: whatever still runs ends with CANCELLED

  // Starts the thread. Once.
  void Start();

  // From any thread. False, with `request` left to the caller, when the queue is full or the engine
  // is stopping. A request that needs more pages than there are is taken and ends with
  // INVALID_ARGUMENT.
  bool TrySubmit(std::unique_ptr<Request>& request);

  // From any thread: looks at the cancel flags soon even when otherwise idle.
  void Wake();

  // From any thread: waits until nothing runs or waits, at most until `deadline`; true when idle.
  bool WaitIdle(absl::Time deadline);

  // From any thread but the engine's: ends everything with `reason` (UNAVAILABLE when draining) and
  // joins the thread. Later calls only wait for the first.
  void Stop(const absl::Status& reason);

  EngineStats stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace llavamini
