#include "model/step_runner.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "model/page_locked.h"
#include "model/upload.h"

namespace llavamini {
namespace {

using Attention = StepRows::Attention;

constexpr int64_t kSamplingBytes = sizeof(DeviceSampling);

}  // namespace

// One upload brings all numbers of a step, int32: ids, places, positions and newest places of rows,
// first rows of prompts, rows to sample, and how.
struct StepRunner::Inputs {
  Inputs(int64_t row_count, int64_t token_count, const LanguageModel& model)
      : rows(row_count), tokens(token_count) {
    const at::Device device = model.embedding().device();
    const auto ints = at::TensorOptions(at::kInt).device(device);
    const auto bytes = ints.dtype(at::kByte);
    all = at::zeros({sampling_at() + tokens * kSamplingBytes / 4}, ints);
    made = at::zeros({rows, model.embedding().size(1)}, model.embedding().options());
    chosen = at::zeros({tokens}, ints);
    newest = at::zeros({tokens}, ints);
    workspace = at::zeros({ops::SampleWorkspace(tokens)}, bytes);
    if (device.is_cuda()) Clear();
  }
  void Clear() {
    all.zero_();
    places(rows).fill_(-1);
    newest_places(rows).fill_(-1);
    at::Tensor sampled = sampling(tokens).view({tokens, kSamplingBytes / 4});
    sampled.select(1, offsetof(DeviceSampling, place) / 4).fill_(-1);
  }
  at::Tensor ids(int64_t n) const { return all.narrow(0, 0, n); }
  at::Tensor places(int64_t n) const { return all.narrow(0, rows, n); }
  at::Tensor positions(int64_t n) const { return all.narrow(0, 2 * rows, n); }
  at::Tensor newest_places(int64_t n) const { return all.narrow(0, 3 * rows, n); }
  at::Tensor first_of_prompts() const { return all.narrow(0, 4 * rows, kMostPrompts + 1); }
  at::Tensor sample_rows(int64_t n) const { return all.narrow(0, sample_rows_at(), n); }
  at::Tensor sampling(int64_t n) const {
    return all.narrow(0, sampling_at(), n * kSamplingBytes / 4);
  }
  int64_t sample_rows_at() const { return 4 * rows + kMostPrompts + 1; }
  int64_t sampling_at() const {
    return sample_rows_at() + tokens + (sample_rows_at() + tokens) % 2;
  }

  const int64_t rows, tokens;
  at::Tensor all;
  at::Tensor made;       // fused rows of the step's prompts, [rows, D]
  at::Tensor chosen;     // int32 [tokens]
  at::Tensor newest;     // int32 [places]
  at::Tensor workspace;  // of ops::SampleRows
};

struct StepRunner::InFlight {
  struct HostRow {
    HostSampling sampling;
    at::Tensor logits;  // [V], in the host's memory
    int64_t result;
  };
  std::vector<SampledToken> tokens;
  std::vector<std::pair<at::Tensor, std::vector<int64_t>>> ids;  // int32 on the host, and results
  std::vector<HostRow> on_host;
  DeviceStream::Event done;
};

StepRunner::StepRunner(const LanguageModel* model, KvCache* cache, const DeviceStream* stream,
                       int64_t max_step_rows)
    : model_(model),
      cache_(cache),
      stream_(stream),
      places_(cache->page_table.size(0)),
      max_rows_(ops::PaddedRows(std::max(max_step_rows, places_))),
      inputs_(std::make_unique<Inputs>(max_rows_, places_, *model)) {}

StepRunner::~StepRunner() = default;

bool StepRunner::SamplesAhead(const SamplingParams& params) const {
  return ChosenOnDevice(params, inputs_->all.is_cuda());
}

void StepRunner::Prepare() {
  if (!inputs_->all.is_cuda()) return;
  std::vector<int64_t> sizes;
  for (int64_t rows = 1; rows <= max_rows_; rows = ops::PaddedRows(rows + 1)) sizes.push_back(rows);
  std::reverse(sizes.begin(), sizes.end());  // the largest first: the others fit into its memory
  for (const int64_t rows : sizes) {
    Record(Attention::kPages, rows);
    const bool may_be_newest = rows <= ops::PaddedRows(places_);
    if (may_be_newest) Record(Attention::kNewest, rows);
    const Attention timed = may_be_newest ? Attention::kNewest : Attention::kPages;
    milliseconds_[rows] = stream_->Time([&] { RunGraph(timed, rows); }, /*runs=*/3);
  }
}

void StepRunner::Record(Attention attention, int64_t rows) {
  const int64_t tokens = std::min(rows, places_);
  StepRows step;
  step.attention = attention;
  step.places = inputs_->places(rows);
  step.positions = inputs_->positions(rows);
  if (attention == Attention::kPages || tokens < rows) {
    step.sample_rows = inputs_->sample_rows(tokens);
  }
  if (attention == Attention::kPages &&
      ops::AttendsPromptsAndPages(model_->embedding(), rows, model_->heads())) {
    const at::Tensor first = inputs_->first_of_prompts();
    // (Told that runs have one row, flash attention would take another form for it.)
    const int64_t most = std::clamp<int64_t>(rows, 2, kMostPagedPromptRows);
    step.newest_places = inputs_->newest_places(rows);
    step.prompts = {{}, {}, first, first, most, most};
  }
  const auto work = [this, step, rows, tokens] {
    const at::Tensor x = ops::GatherRows(inputs_->ids(rows), step.places, inputs_->newest,
                                         model_->embedding(), inputs_->made);
    at::Tensor logits = model_->Forward(x, step, *cache_);
    at::Tensor chosen = inputs_->chosen.narrow(0, 0, tokens);
    ops::SampleRows(logits, inputs_->sampling(tokens), chosen, inputs_->newest, inputs_->workspace);
    return logits;
  };
  graphs_.emplace(GraphKey{attention, rows}, Captured(*stream_, work));
}

at::Tensor StepRunner::RunGraph(Attention attention, int64_t rows) {
  return graphs_.at({attention, rows}).Run();
}

double StepRunner::Milliseconds(int64_t rows) const {
  const auto found = milliseconds_.lower_bound(rows);
  return found == milliseconds_.end() ? 0 : found->second;
}

void StepRunner::Launch(absl::Span<const PromptRow> prompts, absl::Span<const DecodeRow> rows) {
  for (const PromptRow& prompt : prompts) cache_->SetPages(prompt.place, prompt.pages);
  InFlight step;
  step.tokens.resize(prompts.size() + rows.size());
  const PassLimits limits{inputs_->all.is_cuda(), !graphs_.empty(), max_rows_};
  for (const StepPass& pass : PlanPasses(prompts, rows, limits)) {
    const bool recorded = limits.recorded && pass.attention != Attention::kSegments;
    Keep(pass, recorded ? RunRecorded(pass) : RunDirectly(pass), step);
  }
  step.done.Record(*stream_);
  in_flight_.push_back(std::move(step));
}

// The fused rows of the pass's prompts: texts (their means over the images) and vision tokens.
at::Tensor StepRunner::Made(const StepPass& pass) const {
  std::vector<at::Tensor> parts;
  for (const FusedText* fused : pass.fused) {
    if (fused->text.defined()) {
      const bool mean = fused->images > 1;
      parts.push_back(mean ? (fused->text / static_cast<double>(fused->images))
                                 .to(model_->embedding().scalar_type())
                           : fused->text);
    }
    parts.push_back(fused->tokens);
  }
  return parts.empty() ? inputs_->made : at::cat(parts);
}

at::Tensor StepRunner::RunRecorded(const StepPass& pass) {
  const int64_t padded = ops::PaddedRows(pass.rows()), rows = inputs_->rows;
  const at::Tensor host = PageLocked({inputs_->all.size(0)}, at::kInt);
  auto* ints = host.data_ptr<int32_t>();
  std::memset(ints, 0, host.nbytes());
  std::copy(pass.ids.begin(), pass.ids.end(), ints);
  std::fill(ints + rows, ints + rows + padded, -1);
  std::copy(pass.places.begin(), pass.places.end(), ints + rows);
  std::copy(pass.positions.begin(), pass.positions.end(), ints + 2 * rows);
  std::fill(ints + 3 * rows, ints + 3 * rows + padded, -1);
  const int64_t of_prompts = pass.rows() - pass.newest_rows;
  std::copy(pass.places.begin() + of_prompts, pass.places.end(), ints + 3 * rows + of_prompts);
  int32_t* first = ints + 4 * rows;
  std::fill(first, first + kMostPrompts + 1, static_cast<int32_t>(of_prompts));
  first[0] = 0;
  for (int64_t i = 0; i < pass.prompts(); ++i) {
    first[i + 1] = first[i] + static_cast<int32_t>(pass.prompt_rows[i]);
  }
  std::copy(pass.sample_rows.begin(), pass.sample_rows.end(), ints + inputs_->sample_rows_at());
  std::vector<DeviceSampling> sampling(inputs_->tokens);
  std::copy(pass.sampling.begin(), pass.sampling.end(), sampling.begin());
  std::memcpy(ints + inputs_->sampling_at(), sampling.data(), sampling.size() * kSamplingBytes);
  inputs_->all.copy_(host, /*non_blocking=*/true);
  if (pass.made_rows > 0) {
    inputs_->made.narrow(0, 0, pass.made_rows).copy_(Made(pass), /*non_blocking=*/true);
  }
  return RunGraph(pass.attention, padded);
}

at::Tensor StepRunner::RunDirectly(const StepPass& pass) {
  const at::Device device = inputs_->all.device();
  StepRows step;
  step.attention = pass.attention;
  step.places = Upload(pass.places, device);
  step.positions = Upload(pass.positions, device);
  if (pass.tokens() < pass.rows()) step.sample_rows = Upload(pass.sample_rows, device);
  step.newest_rows = pass.newest_rows;
  if (!pass.prompt_rows.empty()) {
    step.prompts = ops::MakeSegments(pass.prompt_rows, pass.prompt_rows, device);
  }
  if (!device.is_cuda()) {
    std::vector<int64_t> slots(pass.rows());
    const auto table = cache_->page_table.accessor<int32_t, 2>();
    for (int64_t i = 0; i < pass.rows(); ++i) {
      const int32_t position = pass.positions[i];
      slots[i] = int64_t{table[pass.places[i]][position / kPageTokens]} * kPageTokens +
                 position % kPageTokens;
    }
    step.slots = Upload(slots, device);
  }
  const at::Tensor x = ops::GatherRows(Upload(pass.ids, device), step.places, inputs_->newest,
                                       model_->embedding(), Made(pass));
  at::Tensor logits = model_->Forward(x, step, *cache_);
  if (device.is_cuda()) {
    const at::Tensor sampling = Upload(reinterpret_cast<const uint8_t*>(pass.sampling.data()),
                                       pass.sampling.size() * kSamplingBytes, device);
    at::Tensor chosen = inputs_->chosen.narrow(0, 0, pass.tokens());
    ops::SampleRows(logits, sampling, chosen, inputs_->newest, inputs_->workspace);
  }
  return logits;
}

// Starts the copies to the host of what the pass chose, and of logits that the host chooses from.
void StepRunner::Keep(const StepPass& pass, const at::Tensor& logits, InFlight& step) const {
  const bool on_gpu = logits.is_cuda();
  if (on_gpu) {
    at::Tensor ids = PageLocked({pass.tokens()}, at::kInt);
    ids.copy_(inputs_->chosen.narrow(0, 0, pass.tokens()), /*non_blocking=*/true);
    step.ids.emplace_back(ids, pass.results);
  }
  for (int64_t i = 0; i < pass.tokens(); ++i) {
    if (!pass.on_host[i]) continue;
    at::Tensor row = logits[i];
    if (on_gpu) {
      row = PageLocked({logits.size(1)}, logits.scalar_type()).copy_(row, /*non_blocking=*/true);
    }
    step.on_host.push_back({*pass.on_host[i], row, pass.results[i]});
  }
}

std::vector<SampledToken> StepRunner::Collect() {
  TORCH_CHECK(!in_flight_.empty(), "a step is collected once");
  InFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  step.done.Wait();
  for (const auto& [ids, results] : step.ids) {
    const int32_t* id = ids.data_ptr<int32_t>();
    for (size_t i = 0; i < results.size(); ++i) step.tokens[results[i]].token.id = id[i];
  }
  for (const InFlight::HostRow& row : step.on_host) {
    at::Tensor logits = row.logits.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    step.tokens[row.result] =
        Sample({logits.data_ptr<float>(), static_cast<size_t>(logits.numel())},
               {row.sampling.prompt, row.sampling.answer, row.sampling.params});
  }
  return std::move(step.tokens);
}

}  // namespace llavamini
