#include "server/engine/scheduler.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "server/engine/check.h"

namespace llavamini {

int64_t PagesNeeded(int64_t prompt_rows, int64_t max_tokens) {
  return (prompt_rows + max_tokens + kPageTokens - 1) / kPageTokens;
}

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits), pool_(limits.pages), free_places_(limits.max_running) {
  std::iota(free_places_.rbegin(), free_places_.rend(), 0);
}

absl::Status Scheduler::Arrive(const RequestFacts& facts) {
  Check(facts.prompt_rows >= 1 && facts.max_tokens >= 1, "a request has a prompt and max_tokens");
  const int64_t needed = PagesNeeded(facts.prompt_rows, facts.max_tokens);
  if (needed > pool_.total()) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and max_tokens need ", needed,
                                                   " pages of the key-value cache, which has ",
                                                   pool_.total()));
  }
  if (room() <= 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", limits_.max_waiting, " requests wait"));
  }
  waiting_.emplace(facts.number, Waiting{facts, /*ready=*/!facts.has_images});
  return absl::OkStatus();
}

void Scheduler::SetReady(RequestNumber number) { waiting_.at(number).ready = true; }

std::vector<RequestNumber> Scheduler::Late(absl::Time now) const {
  std::vector<RequestNumber> late;
  for (const auto& [number, running] : running_) {
    if (running.facts.deadline <= now) late.push_back(number);
  }
  for (const auto& [number, waiting] : waiting_) {
    if (waiting.facts.deadline <= now) late.push_back(number);
  }
  return late;
}

Step Scheduler::Plan() {
  Step step;
  for (auto& [number, running] : running_) {
    if (!running.may_step()) continue;
    step.sequences.push_back({number, running.place, running.chosen});
    ++running.chosen;
    ++running.in_flight;
  }
  PlanPrompts(step);
  return step;
}

void Scheduler::PlanPrompts(Step& step) {
  auto rows = static_cast<int64_t>(step.sequences.size());
  for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
    if (!waiting->second.ready) {
      ++waiting;
      continue;
    }
    const RequestFacts& facts = waiting->second.facts;
    const int64_t needed = PagesNeeded(facts.prompt_rows, facts.max_tokens);
    rows += facts.prompt_rows;
    const bool fits_step = step.prompts.empty() || rows <= limits_.max_step_rows;
    if (!fits_step || free_places_.empty() || needed > pool_.available()) return;
    step.prompts.push_back(
        {facts.number, free_places_.back(), pool_.Take(static_cast<int32_t>(needed))});
    free_places_.pop_back();
    running_.emplace(facts.number,
                     Running{facts, step.prompts.back().place, step.prompts.back().pages});
    waiting = waiting_.erase(waiting);
  }
}

void Scheduler::Collected(RequestNumber number) {
  Running& running = running_.at(number);
  Check(running.in_flight > 0, "a token is collected once");
  --running.in_flight;
}

void Scheduler::Finish(RequestNumber number) {
  if (waiting_.erase(number) > 0) return;
  const auto running = running_.find(number);
  Check(running != running_.end(), "a request is finished once");
  pool_.Return(running->second.pages);
  free_places_.push_back(running->second.place);
  running_.erase(running);
}

int64_t Scheduler::sequences_to_step() const {
  return std::count_if(running_.begin(), running_.end(),
                       [](const auto& entry) { return entry.second.may_step(); });
}

absl::Time Scheduler::NextDeadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [number, waiting] : waiting_) next = std::min(next, waiting.facts.deadline);
  for (const auto& [number, running] : running_) {
    next = std::min(next, running.facts.deadline);
  }
  return next;
}

}  // namespace llavamini
