// Runs the language model's steps: on a GPU as graphs of fixed numbers of rows, all recorded at
// start; tokens are chosen there and fed to the next step without the host. The one owner of
// padding and of the choice of graph. Used by the thread that owns the model.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "model/device_stream.h"
#include "model/language_model.h"
#include "model/step_pass.h"

namespace llavamini {

class StepRunner {
 public:
  // model and cache outlive it. max_step_rows: of a step that is a graph.
  StepRunner(const LanguageModel* model, KvCache* cache, const DeviceStream* stream,
             int64_t max_step_rows);
  ~StepRunner();

  // On a GPU: times products and records every graph.
  void Prepare();

  bool SamplesAhead(const SamplingParams& params) const;
  void Launch(absl::Span<const PromptRow> prompts, absl::Span<const DecodeRow> rows);
  std::vector<SampledToken> Collect();
  // The device's time for a step of so many rows in short contexts; 0 on a CPU, and for more rows
  // than a graph has.
  double Milliseconds(int64_t rows) const;

 private:
  struct Inputs;    // where graphs read from
  struct InFlight;  // a step that is not collected

  using GraphKey = std::pair<StepRows::Attention, int64_t>;

  void Record(StepRows::Attention attention, int64_t rows);
  at::Tensor RunGraph(StepRows::Attention attention, int64_t rows);
  at::Tensor Made(const StepPass& pass) const;
  at::Tensor RunRecorded(const StepPass& pass);
  at::Tensor RunDirectly(const StepPass& pass);
  void Keep(const StepPass& pass, const at::Tensor& logits, InFlight& step) const;

  const LanguageModel* model_;
  KvCache* cache_;
  const DeviceStream* stream_;
  const int64_t places_;
  const int64_t max_rows_;
  std::unique_ptr<Inputs> inputs_;
  std::map<GraphKey, Captured> graphs_;
  std::map<int64_t, double> milliseconds_;  // by rows
  std::deque<InFlight> in_flight_;          // oldest first
};

}  // namespace llavamini
