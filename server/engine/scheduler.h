// Decides which prompts and sequences the engine's next step of the language model works on. A pure
// function of what it is told: no clock, no lock, no model. Used on the engine's thread alone. What
// becomes of images before that is VisionPlanner's (vision_planner.h).
//
// Policy
// - Everything that runs takes one token more in every step, also while its last token is still on
//   the device, unless the model needs that token first (samples_ahead) or has chosen the last one.
// - A request is prefilled once its images are fused, a place is free and the pages for its worst
//   case (prompt and max_tokens) can be reserved. So a running answer never waits for memory and is
//   never thrown out.
// - Prompts ride along with the sequences of a step up to max_step_rows; the first prompt of a step
//   is taken however long it is.
// - Among requests whose images are fused the order is strictly that of arrival: when the oldest of
//   them waits for rows, pages or a place, all younger ones wait behind it, so a large request
//   cannot starve. Only a request whose own images are not fused yet may be overtaken, and vision
//   is first come, first served.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/model.h"
#include "server/engine/page_pool.h"

namespace llavamini {

// Names a request inside one engine; later requests have larger numbers, and none is used twice.
using RequestNumber = uint64_t;

struct SchedulerLimits {
  int32_t max_running = 0;  // places
  int32_t max_waiting = 0;
  int64_t max_step_rows = 0;
  int32_t pages = 0;
};

struct RequestFacts {
  RequestNumber number = 0;
  int64_t prompt_rows = 0;  // vision tokens included; at least 1
  int64_t max_tokens = 0;   // at least 1
  bool has_images = false;  // waits until SetReady()
  bool samples_ahead = true;
  absl::Time deadline = absl::InfiniteFuture();
};

// One step of the language model.
struct Step {
  struct Prompt {
    RequestNumber request = 0;
    Place place = 0;             // until Finish, as are
    std::vector<int32_t> pages;  // for the prompt and max_tokens
  };
  struct Sequence {
    RequestNumber request = 0;
    Place place = 0;
    int64_t token_index = 0;  // of the token to choose: those before it are chosen or in flight
  };

  std::vector<Prompt> prompts;
  std::vector<Sequence> sequences;

  size_t rows() const { return prompts.size() + sequences.size(); }
};

// Pages reserved for a request: room for the prompt and the longest answer.
int64_t PagesNeeded(int64_t prompt_rows, int64_t max_tokens);

// Virtual for the simulator's sake, which runs the engine with faulty schedulers to show that it
// notices.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);
  virtual ~Scheduler() = default;

  // INVALID_ARGUMENT when the request could never run (more pages than there are),
  // RESOURCE_EXHAUSTED when max_waiting wait already. A refused request is forgotten.
  virtual absl::Status Arrive(const RequestFacts& facts);

  // The images of a waiting request are fused.
  virtual void SetReady(RequestNumber number);

  // Everybody who is past the deadline, wherever it is: to be finished.
  virtual std::vector<RequestNumber> Late(absl::Time now) const;

  // What to launch now. Takes the planned rows as launched and the planned prompts as running: one
  // whose work fails must be finished.
  virtual Step Plan();

  // The oldest token in flight of a running request is known now.
  virtual void Collected(RequestNumber number);

  // The request has ended, for whatever reason and wherever it was: its place and pages are free.
  // The device works in order, so they may be given away though a step with it is in flight.
  virtual void Finish(RequestNumber number);

  // Sequences that Plan() would put into a step now.
  int64_t sequences_to_step() const;

  // When the first deadline of all requests is.
  absl::Time NextDeadline() const;

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  // Requests that Arrive would take now.
  int64_t room() const { return limits_.max_waiting - waiting(); }
  const PagePool& pages() const { return pool_; }

 private:
  struct Waiting {
    RequestFacts facts;
    bool ready = false;
  };
  struct Running {
    RequestFacts facts;
    Place place = 0;
    std::vector<int32_t> pages;
    int64_t chosen = 1;     // tokens, those in flight included
    int64_t in_flight = 1;  // of them
    bool may_step() const {
      return chosen < facts.max_tokens && (in_flight == 0 || facts.samples_ahead);
    }
  };

  void PlanPrompts(Step& step);

  const SchedulerLimits limits_;
  PagePool pool_;
  std::vector<Place> free_places_;            // the last one is taken first
  std::map<RequestNumber, Waiting> waiting_;  // in order of arrival
  std::map<RequestNumber, Running> running_;
};

}  // namespace llavamini
