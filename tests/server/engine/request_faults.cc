#include <utility>

#include "tests/server/engine/planted_faults.h"

namespace llavamini {
namespace {

class Forwarding : public AnswerSink {
 public:
  explicit Forwarding(std::shared_ptr<AnswerSink> sink) : sink_(std::move(sink)) {}
  void OnProgress(Stage stage, int64_t done, int64_t total) override {
    sink_->OnProgress(stage, done, total);
  }
  void OnDelta(Delta delta) override { sink_->OnDelta(std::move(delta)); }
  void OnFinished(const Outcome& outcome) override { sink_->OnFinished(outcome); }

 protected:
  const std::shared_ptr<AnswerSink> sink_;
};

class EndingTwice : public Forwarding {
 public:
  using Forwarding::Forwarding;
  void OnFinished(const Outcome& outcome) override {
    sink_->OnFinished(outcome);
    if (absl::IsCancelled(outcome.status)) sink_->OnFinished(outcome);
  }
};

class NeverEndingTheLate : public Forwarding {
 public:
  using Forwarding::Forwarding;
  void OnFinished(const Outcome& outcome) override {
    if (!absl::IsDeadlineExceeded(outcome.status)) sink_->OnFinished(outcome);
  }
};

class LosingTheHeldText : public Forwarding {
 public:
  using Forwarding::Forwarding;
  void OnDelta(Delta delta) override {
    if (!delta.token_ids.empty()) sink_->OnDelta(std::move(delta));
  }
};

class LosingLogprobsOfHeldText : public Forwarding {
 public:
  using Forwarding::Forwarding;
  void OnDelta(Delta delta) override {
    if (delta.text.empty()) delta.logprobs.clear();
    sink_->OnDelta(std::move(delta));
  }
};

template <typename Faulty>
PlantedFault With() {
  PlantedFault fault;
  fault.spoil_request = [](Request& request) {
    request.sink = std::make_shared<Faulty>(std::move(request.sink));
  };
  return fault;
}

PlantedFault Spoiling(void (*spoil)(Request&)) {
  PlantedFault fault;
  fault.spoil_request = spoil;
  return fault;
}

}  // namespace

std::vector<NamedFault> RequestFaults() {
  return {
      {"EndsTwice", "ended twice", With<EndingTwice>()},
      {"NeverEndsTheLate", "a late request keeps its place", With<NeverEndingTheLate>()},
      {"LosesTheHeldText", "other text than alone", With<LosingTheHeldText>()},
      {"LosesLogprobsOfHeldText", "log probabilities do not go with the tokens",
       With<LosingLogprobsOfHeldText>()},
      {"IgnoresCancels", "a cancelled request keeps its place",
       Spoiling([](Request& request) { request.cancelled = nullptr; })},
      {"ConfusesImageKeys", "other tokens than alone", Spoiling([](Request& request) {
         for (PreparedImage& image : request.images) image.key.fill(image.key[0] % 2);
       })},
      {"IgnoresStopStrings", "other text than alone",
       Spoiling([](Request& request) { request.stop.clear(); })},
      {"AnswersOneTokenMore", "a token beyond the last is asked for",
       Spoiling([](Request& request) { ++request.max_tokens; })},
  };
}

}  // namespace llavamini
