// Hears every call of the model in one world: makes its troubles, says what is wrong with how the
// engine calls, counts what happens, and notes whom a failure may end.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/scheduler.h"
#include "tests/server/engine/answer_check.h"
#include "tests/server/engine/fake_model.h"
#include "tests/server/engine/simulator.h"
#include "tests/server/engine/world.h"

namespace llavamini {

using TrackedRequests = std::vector<std::unique_ptr<TrackedRequest>>;  // in order of arrival

class CallWatch {
 public:
  // All outlive it.
  CallWatch(const World& world, const FakeModel& fake, const TrackedRequests& tracked,
            WorldReport& report);

  void BeginStep();
  absl::Duration DurationOfCall();
  // What the call ends with.
  absl::Status Hear(const FakeCall& call, const Scheduler& scheduler);

  const std::set<uint64_t>& prefilled_now() const { return prefilled_now_; }
  bool lost() const { return lost_; }

 private:
  absl::Status Trouble(const FakeCall& call);
  void Check(const FakeCall& call, const Scheduler& scheduler);
  void CheckStep(const FakeCall& call);
  void CheckPieces(int64_t rows);
  void NoteSuccess(const FakeCall& call);
  void NoteEncoded(const FakeCall& call);
  void NoteLaunched(const FakeCall& call);
  void Blame(const FakeCall& call, const absl::Status& failure);
  void Violation(const std::string& what) { report_.violations.push_back(what); }

  const World& world_;
  const FakeModel& fake_;
  const TrackedRequests& tracked_;
  WorldReport& report_;
  Random luck_;
  std::set<uint64_t> prefilled_now_;   // seeds, in this step of the engine
  std::set<uint64_t> encoded_now_;     // contents, likewise
  int pieces_now_ = 0;                 // before the step to come, beside running answers
  double milliseconds_of_pieces_ = 0;  // of those
  bool encodes_alone_ = false;         // now: no piece waits for a step
  bool lost_ = false;
};

}  // namespace llavamini
