#include <algorithm>
#include <set>

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

PlantedFault WithOptions(void (*change)(EngineOptions&)) {
  PlantedFault fault;
  fault.change_options = change;
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
  std::vector<RequestNumber> Late(absl::Time now) const override {
    std::vector<RequestNumber> late = Scheduler::Late(now);
    std::erase_if(late, [this](RequestNumber number) { return leaked_.contains(number); });
    return late;
  }
  Step Plan() override {
    Step step = Scheduler::Plan();
    std::erase_if(step.sequences, [this](const Step::Sequence& sequence) {
      return leaked_.contains(sequence.request);
    });
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
  Step Plan() override {
    Step step = Scheduler::Plan();
    for (Step::Prompt& prompt : step.prompts) {
      if (last_page_ >= 0) prompt.pages.back() = last_page_;
      last_page_ = prompt.pages.front();
    }
    return step;
  }

 private:
  int32_t last_page_ = -1;
};

// Gives the place of the last prompt to the next one as well.
class SharingAPlace : public Scheduler {
 public:
  using Scheduler::Scheduler;
  Step Plan() override {
    Step step = Scheduler::Plan();
    for (Step::Prompt& prompt : step.prompts) {
      if (last_place_ >= 0) prompt.place = last_place_;
      last_place_ = prompt.place;
    }
    return step;
  }

 private:
  Place last_place_ = -1;
};

class ForgettingSequences : public Scheduler {
 public:
  using Scheduler::Scheduler;
  Step Plan() override {
    Step step = Scheduler::Plan();
    std::erase_if(step.sequences,
                  [](const Step::Sequence& sequence) { return sequence.request % 4 == 0; });
    return step;
  }
};

class DecodingTwice : public Scheduler {
 public:
  using Scheduler::Scheduler;
  Step Plan() override {
    Step step = Scheduler::Plan();
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
  Step Plan() override {
    if (!large_.empty() && waiting() == 0) {
      Scheduler::Arrive(large_.front()).IgnoreError();
      large_.erase(large_.begin());
    }
    return Scheduler::Plan();
  }

 private:
  std::vector<RequestFacts> large_;
};

}  // namespace

std::vector<NamedFault> SchedulerFaults() {
  return {
      {"LeaksPlaces", "pages are left over", With<Leaking>()},
      {"SharesAPage", "a page has two owners", With<SharingAPage>()},
      {"SharesAPlace", "a place has two owners", With<SharingAPlace>()},
      {"ForgetsSequences", "nothing to do though requests wait", With<ForgettingSequences>()},
      {"DecodesTwice", "a row stands twice in a batch", With<DecodingTwice>()},
      {"LetsSmallOnesPass", "a ready request was overtaken", With<LettingSmallOnesPass>()},
      {"RunsTooMany", "too many running", WithOptions([](EngineOptions& o) { ++o.max_running; })},
      {"QueuesTooMany", "too many waiting", WithOptions([](EngineOptions& o) { ++o.max_waiting; })},
      {"EncodesTooMany", "too many images in a batch",
       WithOptions([](EngineOptions& o) { ++o.max_images_per_batch; })},
      {"HoldsTooMany", "too many encoded images are held",
       WithOptions([](EngineOptions& o) { o.max_images_ahead = 100; })},
      {"PrefillsTooMany", "too many rows in a step",
       WithOptions([](EngineOptions& o) { o.max_step_rows += 16; })},
      {"ReservesTheAnswerOnly", "an answer is longer than its pages",
       WithFacts([](RequestFacts& f) { f.prompt_rows = 1; })},
      {"CountsPlaceholderNotVisionTokens", "a prompt is longer than its pages",
       WithFacts([](RequestFacts& f) { f.prompt_rows = std::min<int64_t>(f.prompt_rows, 4); })},
      {"GoesBeyondTheLastToken", "a token beyond the last is asked for",
       WithFacts([](RequestFacts& f) { ++f.max_tokens; })},
      {"DoesNotWaitForTheToken", "a step needs a token that is not collected",
       WithFacts([](RequestFacts& f) { f.samples_ahead = true; })},
      {"IgnoresDeadlines", "a late request keeps its place",
       WithFacts([](RequestFacts& f) { f.deadline = absl::InfiniteFuture(); })},
      {"PrefillsBeforeTheLastImage", "an image is missing",
       WithFacts([](RequestFacts& f) { f.has_images = false; })},
  };
}

}  // namespace llavamini
