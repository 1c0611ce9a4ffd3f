// What the simulator knows about one request, and whether the engine's answer to it is right.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/server/engine/expected_answer.h"
#include "tests/server/engine/recording_sink.h"
#include "tests/server/engine/simulator.h"
#include "tests/server/engine/world.h"

namespace llavamini {

struct TrackedRequest {
  WorldRequest spec;
  ExpectedAnswer expected;
  std::shared_ptr<RecordingSink> sink;
  std::shared_ptr<std::atomic<bool>> cancelled;
  absl::Time arrived_at, deadline, ended_at;
  std::optional<int64_t> cancel_step;  // the first step that could see the flag
  std::optional<int64_t> late_step;    // the first step after the deadline
  int64_t known_images = 0;            // found in the cache before it arrived
  bool never_fits = false, queue_full = false, device_was_lost = false;  // on arrival
  bool prefilled = false;
  int64_t launched = 0;               // tokens
  bool must_end = false;              // its own row failed
  std::set<absl::StatusCode> blames;  // failures that may be its end

  bool ended() const { return sink->finished > 0; }
  bool MustBeRefused() const { return never_fits || queue_full || device_was_lost; }

  // It lives, is not prefilled, and has an image of this content, or of what the fake makes of it.
  bool WaitsForImage(const World& world, uint64_t content) const;
};

// The code with which the engine passes on a model's failure.
absl::StatusCode ModelFailureCode(const absl::Status& failure);

// Everything that is wrong with how a request was answered in the end.
std::vector<std::string> ProblemsOf(const TrackedRequest& request, bool device_lost);

void CountOutcome(const TrackedRequest& request, Happenings& happenings);

}  // namespace llavamini
