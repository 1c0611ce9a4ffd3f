// Keeps what the engine says to one request, and notes calls that break AnswerSink's contract.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "server/engine/request.h"

namespace llavamini {

class RecordingSink : public AnswerSink {
 public:
  void OnProgress(Stage stage, int64_t done, int64_t total) override {
    if (finished > 0) problems.push_back("progress after the end");
    if (!stages.empty() && stage < stages.back()) problems.push_back("a stage came back");
    if (done < 0 || done > total) problems.push_back("more done than there is");
    if (!ids.empty()) problems.push_back("progress after the first token");
    stages.push_back(stage);
  }
  void OnDelta(Delta delta) override {
    if (finished > 0) problems.push_back("a delta after the end");
    if (delta.text.empty() && delta.token_ids.empty()) problems.push_back("an empty delta");
    text += delta.text;
    ids.insert(ids.end(), delta.token_ids.begin(), delta.token_ids.end());
    for (const SampledToken& sampled : delta.logprobs) logprob_ids.push_back(sampled.token.id);
  }
  void OnFinished(const Outcome& ended) override {
    if (++finished > 1) problems.push_back("ended twice");
    outcome = ended;
    if (on_finished) on_finished();
  }

  std::vector<Stage> stages;
  std::string text;
  std::vector<TokenId> ids;
  std::vector<TokenId> logprob_ids;
  int finished = 0;
  Outcome outcome;
  std::vector<std::string> problems;
  std::function<void()> on_finished;
};

}  // namespace llavamini
