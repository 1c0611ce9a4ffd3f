#include "server/engine/scheduler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/model.h"
#include "server/engine/check.h"

namespace llavamini {

int64_t PagesNeeded(int64_t prompt_rows, int64_t max_tokens) {
  return (prompt_rows + max_tokens + kPageTokens - 1) / kPageTokens;
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
  waiting_.push_back({facts});
  return absl::OkStatus();
}

void Scheduler::Finish(RequestNumber number) {
  const auto waiting = std::find_if(waiting_.begin(), waiting_.end(), [number](const Waiting& w) {
    return w.facts.number == number;
  });
  if (waiting != waiting_.end()) {
    waiting_.erase(waiting);
    return;
  }
  const auto running = std::find_if(running_.begin(), running_.end(),
                                    [number](const Running& r) { return r.number == number; });
  Check(running != running_.end(), "a request is finished once");
  pool_.Return(running->pages);
  running_.erase(running);
}

Step Scheduler::Plan(absl::Time now) {
  Step step;
  for (const Running& running : running_) {
    (running.deadline <= now ? step.expired : step.sequences).push_back(running.number);
  }
  for (const Waiting& waiting : waiting_) {
    if (waiting.facts.deadline <= now) step.expired.push_back(waiting.facts.number);
  }
  step.images = PlanImages(now);
  step.prompts = PlanPrompts(now);
  return step;
}

std::vector<Step::Images> Scheduler::PlanImages(absl::Time now) {
  std::vector<Step::Images> images;
  int64_t room_in_step = limits_.max_images_per_step;
  int64_t room_ahead = limits_.max_images_ahead - ImagesAhead();
  for (Waiting& waiting : waiting_) {
    if (waiting.facts.deadline <= now) continue;
    const bool oldest = &waiting == &waiting_.front();
    int64_t count = std::min(waiting.images_left(), room_in_step);
    if (!oldest) count = std::min(count, std::max<int64_t>(room_ahead, 0));
    if (count == 0) continue;
    images.push_back({waiting.facts.number, count});
    waiting.encoded += count;
    room_in_step -= count;
    room_ahead -= count;
  }
  return images;
}

std::vector<Step::Prompt> Scheduler::PlanPrompts(absl::Time now) {
  std::vector<Step::Prompt> prompts;
  int64_t rows = 0;
  for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
    const RequestFacts& facts = waiting->facts;
    if (waiting->images_left() > 0 || facts.deadline <= now) {
      ++waiting;
      continue;
    }
    const int64_t needed = PagesNeeded(facts.prompt_rows, facts.max_tokens);
    const bool fits_step =
        prompts.empty() || rows + facts.prompt_rows <= limits_.max_prompt_rows_per_step;
    if (!fits_step || running() >= limits_.max_running || needed > pool_.available()) break;
    rows += facts.prompt_rows;
    prompts.push_back({facts.number, pool_.Take(static_cast<int32_t>(needed))});
    running_.push_back({facts.number, facts.deadline, prompts.back().pages});
    waiting = waiting_.erase(waiting);
  }
  return prompts;
}

int64_t Scheduler::ImagesAhead() const {
  int64_t ahead = 0;
  for (const Waiting& waiting : waiting_) ahead += waiting.encoded;
  return ahead;
}

absl::Time Scheduler::NextDeadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const Waiting& waiting : waiting_) next = std::min(next, waiting.facts.deadline);
  for (const Running& running : running_) next = std::min(next, running.deadline);
  return next;
}

}  // namespace llavamini
