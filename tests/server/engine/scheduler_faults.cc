#include <algorithm>
#include <set>
#include <utility>

#include "tests/server/engine/planted_faults.h"

namespace llavamini {
namespace {

template <typename Faulty>
PlantedFault With() {
  PlantedFault fault;
  fault.make_scheduler = [](const SchedulerLimits& limits) {
    return std::make_unique<Faulty>(limits);
  };
  return fault;
}

PlantedFault WithLimits(void (*change)(SchedulerLimits&)) {
  PlantedFault fault;
  fault.make_scheduler = [change](SchedulerLimits limits) {
    change(limits);
    return std::make_unique<Scheduler>(limits);
  };
  return fault;
}

PlantedFault WithFacts(void (*change)(RequestFacts&)) {
  class Misinformed : public Scheduler {
   public:
    Misinformed(const SchedulerLimits& limits, void (*change)(RequestFacts&))
        : Scheduler(limits), change_(change) {}
    absl::Status Arrive(const RequestFacts& facts) override {
      RequestFacts changed = facts;
      change_(changed);
      return Scheduler::Arrive(changed);
    }

   private:
    void (*const change_)(RequestFacts&);
  };
  PlantedFault fault;
  fault.make_scheduler = [change](const SchedulerLimits& limits) {
    return std::make_unique<Misinformed>(limits, change);
  };
  return fault;
}

// Keeps the place and pages of every fifth running request that ends.
class Leaking : public Scheduler {
 public:
  using Scheduler::Scheduler;
  void Finish(RequestNumber number) override {
    if (number % 5 == 0 && running_.contains(number)) {
      leaked_.insert(number);
    } else {
      Scheduler::Finish(number);
    }
  }
  Step Plan(absl::Time now) override {
    Step step = Scheduler::Plan(now);
    const auto leaked = [this](RequestNumber number) { return leaked_.contains(number); };
    std::erase_if(step.expired, leaked);
    std::erase_if(step.sequences, leaked);
    for (const Step::Prompt& prompt : step.prompts) running_.insert(prompt.request);
    return step;
  }

 private:
  std::set<RequestNumber> running_, leaked_;
};

// Gives the first page of the last prompt to the next one as well.
class SharingAPage : public Scheduler {
 public:
  using Scheduler::Scheduler;
  Step Plan(absl::Time now) override {
    Step step = Scheduler::Plan(now);
    for (Step::Prompt& prompt : step.prompts) {
      if (last_page_ >= 0) prompt.pages.back() = last_page_;
      last_page_ = prompt.pages.front();
    }
    return step;
  }

 private:
  int32_t last_page_ = -1;
};

class ForgettingSequences : public Scheduler {
 public:
  using Scheduler::Scheduler;
  Step Plan(absl::Time now) override {
    Step step = Scheduler::Plan(now);
    std::erase_if(step.sequences, [](RequestNumber number) { return number % 4 == 0; });
    return step;
  }
};

// Finds work again and again that is none, and does not decode meanwhile.
class Spinning : public Scheduler {
 public:
  using Scheduler::Scheduler;
  Step Plan(absl::Time now) override {
    Step step = Scheduler::Plan(now);
    if (step.sequences.empty() || !step.prompts.empty()) return step;
    step.images.push_back({step.sequences.front(), 1});
    step.sequences.clear();
    return step;
  }
};

class DecodingTwice : public Scheduler {
 public:
  using Scheduler::Scheduler;
  Step Plan(absl::Time now) override {
    Step step = Scheduler::Plan(now);
    if (step.sequences.size() > 2) step.sequences.push_back(step.sequences.front());
    return step;
  }
};

// Lets small requests pass a large one for as long as there are any.
class LettingSmallOnesPass : public Scheduler {
 public:
  using Scheduler::Scheduler;
  absl::Status Arrive(const RequestFacts& facts) override {
    const int64_t needed = PagesNeeded(facts.prompt_rows, facts.max_tokens);
    if (needed <= 2 || needed > pages().total()) return Scheduler::Arrive(facts);
    large_.push_back(facts);
    return absl::OkStatus();
  }
  void Finish(RequestNumber number) override {
    const auto same = [number](const RequestFacts& facts) { return facts.number == number; };
    if (std::erase_if(large_, same) == 0) Scheduler::Finish(number);
  }
  Step Plan(absl::Time now) override {
    if (!large_.empty() && waiting() == 0) {
      Scheduler::Arrive(large_.front()).IgnoreError();
      large_.erase(large_.begin());
    }
    return Scheduler::Plan(now);
  }

 private:
  std::vector<RequestFacts> large_;
};

}  // namespace

std::vector<NamedFault> SchedulerFaults() {
  return {
      {"LeaksPlaces", "pages are left over", With<Leaking>()},
      {"SharesAPage", "a page has two owners", With<SharingAPage>()},
      {"ForgetsSequences", "nothing to do though requests wait", With<ForgettingSequences>()},
      {"Spins", "a request starves", With<Spinning>()},
      {"DecodesTwice", "a row stands twice in a batch", With<DecodingTwice>()},
      {"LetsSmallOnesPass", "a ready request was overtaken", With<LettingSmallOnesPass>()},
      {"RunsTooMany", "too many running", WithLimits([](SchedulerLimits& l) { ++l.max_running; })},
      {"QueuesTooMany", "too many waiting",
       WithLimits([](SchedulerLimits& l) { ++l.max_waiting; })},
      {"EncodesTooMany", "too many images in a step",
       WithLimits([](SchedulerLimits& l) { ++l.max_images_per_step; })},
      {"PrefillsTooMany", "too many prompt rows in a step",
       WithLimits([](SchedulerLimits& l) { l.max_prompt_rows_per_step += 16; })},
      {"ReservesThePromptOnly", "an answer is longer than its pages",
       WithFacts([](RequestFacts& f) { f.max_tokens = 1; })},
      {"CountsPlaceholderNotVisionTokens", "a prompt is longer than its pages",
       WithFacts([](RequestFacts& f) { f.prompt_rows = std::min<int64_t>(f.prompt_rows, 4); })},
      {"IgnoresDeadlines", "a late request keeps its place",
       WithFacts([](RequestFacts& f) { f.deadline = absl::InfiniteFuture(); })},
      {"PrefillsBeforeTheLastImage", "an image is missing", WithFacts([](RequestFacts& f) {
         f.images_to_encode = std::max<int64_t>(f.images_to_encode - 1, 0);
       })},
  };
}

}  // namespace llavamini
