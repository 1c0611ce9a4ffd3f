// Decides what the engine's next step works on. A pure function of what it is told: no clock, no
// lock, no model. Used on the engine's thread alone.
//
// Policy
// - Images are encoded first come, first served, a bounded number per step so that running answers
//   keep their pace; images of several waiting requests share a step.
// - A request is prefilled once its images are encoded (those of the same step count), a running
//   place is free and the pages for its worst case (prompt and max_tokens) can be reserved. So a
//   running answer never waits for memory and is never thrown out.
// - Among requests whose images are encoded the order is strictly that of arrival: when the oldest
//   of them waits for pages or a place, all younger ones wait behind it, so a large request cannot
//   starve. Only a request whose own images are still being encoded may be overtaken, and encoding
//   is first come, first served.
// - Everything that runs is decoded in every step.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/page_pool.h"

namespace llavamini {

// Names a request inside one engine; later requests have larger numbers.
using RequestNumber = uint64_t;

struct SchedulerLimits {
  int32_t max_running = 0;
  int32_t max_waiting = 0;
  int32_t max_images_per_step = 0;
  // Encoded images held by waiting requests; the oldest request may exceed it.
  int32_t max_images_ahead = 0;
  int64_t max_prompt_rows_per_step = 0;
  int32_t pages = 0;
};

struct RequestFacts {
  RequestNumber number = 0;
  int64_t prompt_rows = 0;       // vision tokens included; at least 1
  int64_t max_tokens = 0;        // at least 1
  int64_t images_to_encode = 0;  // without those found in the cache
  absl::Time deadline = absl::InfiniteFuture();
};

// One step's work, in this order. A request named in `expired` is in no other list.
struct Step {
  struct Images {
    RequestNumber request = 0;
    int64_t count = 0;  // its next so many images
  };
  struct Prompt {
    RequestNumber request = 0;
    std::vector<int32_t> pages;  // for the prompt and max_tokens; the request's until Finish
  };

  std::vector<RequestNumber> expired;    // past their deadline: to be finished
  std::vector<Images> images;            // to encode
  std::vector<Prompt> prompts;           // to prefill, once their images are encoded
  std::vector<RequestNumber> sequences;  // to decode

  bool empty() const {
    return expired.empty() && images.empty() && prompts.empty() && sequences.empty();
  }
};

// Pages reserved for a request: room for the prompt and the longest answer.
int64_t PagesNeeded(int64_t prompt_rows, int64_t max_tokens);

// Virtual for the simulator's sake, which runs the engine with faulty schedulers to show that it
// notices.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits) : limits_(limits), pool_(limits.pages) {}
  virtual ~Scheduler() = default;

  // INVALID_ARGUMENT when the request could never run (more pages than there are),
  // RESOURCE_EXHAUSTED when max_waiting wait already. A refused request is forgotten.
  virtual absl::Status Arrive(const RequestFacts& facts);

  // The request has ended, for whatever reason and wherever it was: its place and pages are free.
  virtual void Finish(RequestNumber number);

  // What to do now. Takes the planned images as encoded and the planned prompts as running: one
  // whose work fails must be finished.
  virtual Step Plan(absl::Time now);

  // When the first deadline of all requests is.
  absl::Time NextDeadline() const;

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t room() const {
    return limits_.max_waiting - waiting();
  }  // requests that Arrive would take now
  const PagePool& pages() const { return pool_; }

 private:
  struct Waiting {
    RequestFacts facts;
    int64_t encoded = 0;  // images
    int64_t images_left() const { return facts.images_to_encode - encoded; }
  };
  struct Running {
    RequestNumber number = 0;
    absl::Time deadline;
    std::vector<int32_t> pages;
  };

  std::vector<Step::Images> PlanImages(absl::Time now);
  std::vector<Step::Prompt> PlanPrompts(absl::Time now);
  int64_t ImagesAhead() const;

  const SchedulerLimits limits_;
  PagePool pool_;
  std::deque<Waiting> waiting_;   // in order of arrival
  std::vector<Running> running_;  // in order of prefill
};

}  // namespace llavamini
