#include "server/engine/engine_core.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "server/engine/model_failure.h"
#include "spdlog/spdlog.h"

namespace llavamini {
namespace {

// Smaller steps for a step that memory ran out for: its sequences, and each prompt; or, where there
// are no prompts, each sequence.
std::vector<Step> PartsOf(const Step& step) {
  std::vector<Step> parts;
  if (step.prompts.empty()) {
    for (const Step::Sequence& sequence : step.sequences) parts.push_back({{}, {sequence}});
    return parts;
  }
  if (!step.sequences.empty()) parts.push_back({{}, step.sequences});
  for (const Step::Prompt& prompt : step.prompts) parts.push_back({{prompt}, {}});
  return parts;
}

std::vector<RequestNumber> RequestsOf(const Step& step) {
  std::vector<RequestNumber> numbers;
  numbers.reserve(step.rows());
  for (const Step::Prompt& prompt : step.prompts) numbers.push_back(prompt.request);
  for (const Step::Sequence& sequence : step.sequences) numbers.push_back(sequence.request);
  return numbers;
}

}  // namespace

SchedulerLimits LimitsOf(const EngineOptions& options, const ModelFacts& facts) {
  return {std::min(options.max_running, facts.places), options.max_waiting, options.max_step_rows,
          facts.pages};
}

VisionLimits VisionLimitsOf(const EngineOptions& options, const ModelFacts& facts) {
  return {std::min(options.max_images_per_batch, facts.max_images), options.max_images_ahead,
          options.max_rows_ahead};
}

EngineCore::EngineCore(const EngineOptions& options, Model* model, const Tokenizer* tokenizer,
                       ImageCache* cache, std::vector<TokenId> end_tokens,
                       std::unique_ptr<Scheduler> scheduler)
    : options_(options),
      model_(model),
      tokenizer_(tokenizer),
      end_tokens_(std::move(end_tokens)),
      scheduler_(std::move(scheduler)),
      vision_(VisionLimitsOf(options, model->facts()), options.clock, model, cache) {}

void EngineCore::Arrive(std::unique_ptr<Request> request) {
  const RequestNumber number = next_number_++;
  Sequence sequence(number, std::move(request), options_.clock(), model_->facts().tokens_per_image);
  sequence.Report(Stage::kQueued, 0, 0);
  const Request& arrived = *sequence.request;
  const absl::Status admitted =
      device_lost_ ? absl::UnavailableError("the device is lost")
                   : scheduler_->Arrive({number, sequence.usage.prompt_tokens, arrived.max_tokens,
                                         /*has_images=*/!arrived.images.empty(),
                                         model_->SamplesAhead(arrived.sampling), arrived.deadline});
  if (!admitted.ok()) return End(sequence, admitted, FinishReason::kStop);
  sequences_.emplace(number, std::move(sequence));
}

bool EngineCore::RunStep() {
  bool worked = EndCancelled();
  worked |= EndLate();
  const bool anyone_runs = scheduler_->running() > 0;
  worked |= Fuse(anyone_runs);
  if (!anyone_runs) {
    worked |= Encode({});
    worked |= Fuse(anyone_runs);
  }
  Step step = scheduler_->Plan();
  if (anyone_runs) worked |= Encode(LoadOf(step));
  const bool launched = Launch(std::move(step));
  const int32_t ahead = launched ? model_->facts().steps_ahead : 0;
  worked |= CollectUntil(static_cast<size_t>(ahead));
  return worked || launched;
}

void EngineCore::EndAll(const absl::Status& reason) {
  while (!sequences_.empty()) Finish(sequences_.begin()->first, reason, FinishReason::kStop);
  vision_.Drop();
  CollectUntil(0);
}

EngineStats EngineCore::stats() const {
  const PagePool& pages = scheduler_->pages();
  const double in_use = pages.total() - pages.available();
  return {scheduler_->running(), scheduler_->waiting(),
          pages.total() == 0 ? 0 : in_use / pages.total()};
}

bool EngineCore::EndCancelled() {
  std::vector<RequestNumber> cancelled;
  for (const auto& [number, sequence] : sequences_) {
    const auto& flag = sequence.request->cancelled;
    if (flag != nullptr && flag->load(std::memory_order_relaxed)) cancelled.push_back(number);
  }
  for (const RequestNumber number : cancelled) {
    Finish(number, absl::CancelledError("the caller has cancelled"), FinishReason::kStop);
  }
  return !cancelled.empty();
}

bool EngineCore::EndLate() {
  const std::vector<RequestNumber> late = scheduler_->Late(options_.clock());
  for (const RequestNumber number : late) {
    Finish(number, absl::DeadlineExceededError("the deadline has passed"), FinishReason::kStop);
  }
  return !late.empty();
}

std::vector<Sequence*> EngineCore::WithImages() {
  std::vector<Sequence*> waiting;
  for (auto& [number, sequence] : sequences_) {
    if (!sequence.request->images.empty()) waiting.push_back(&sequence);
  }
  return waiting;
}

bool EngineCore::Fuse(bool anyone_runs) {
  const std::vector<Sequence*> waiting = WithImages();
  const bool worked = EndBlind(waiting, vision_.Fuse(waiting, anyone_runs));
  for (const auto& [number, sequence] : sequences_) {
    if (!sequence.request->images.empty() && sequence.images_left() == 0) {
      scheduler_->SetReady(number);
    }
  }
  return worked;
}

// Of prompts that are planned already, the images are there still, but none is left to encode.
bool EngineCore::Encode(const VisionLoad& load) {
  const std::vector<Sequence*> waiting = WithImages();
  return EndBlind(waiting, vision_.Encode(waiting, load));
}

// Ends those whose images failed.
bool EngineCore::EndBlind(const std::vector<Sequence*>& waiting,
                          const absl::StatusOr<bool>& worked) {
  if (!worked.ok()) {
    LoseDevice();
    return true;
  }
  for (const Sequence* sequence : waiting) {
    if (!sequence->vision_failure.ok()) {
      Fail(sequence->number, absl::Status(sequence->vision_failure));
    }
  }
  return *worked;
}

VisionLoad EngineCore::LoadOf(const Step& step) {
  auto rows = static_cast<int64_t>(step.sequences.size());
  for (const Step::Prompt& prompt : step.prompts) {
    rows += Find(prompt.request)->usage.prompt_tokens;
  }
  return {/*anyone_runs=*/true, rows, !step.prompts.empty()};
}

// False when there is nothing to launch. A part of a step may come here after requests of it have
// ended.
bool EngineCore::Launch(Step step) {
  const auto ended = [this](const auto& row) { return Find(row.request) == nullptr; };
  std::erase_if(step.prompts, ended);
  std::erase_if(step.sequences, ended);
  if (step.rows() == 0) return false;
  const absl::Status started = Start(step);
  if (started.ok()) return true;
  spdlog::error("a step of {} prompts and {} sequences: {}", step.prompts.size(),
                step.sequences.size(), started.ToString());
  if (absl::IsResourceExhausted(started) && step.rows() > 1) {
    LaunchInParts(step);
  } else {
    for (const RequestNumber number : RequestsOf(step)) Fail(number, started);
  }
  return true;
}

absl::Status EngineCore::Start(const Step& step) {
  const absl::Time now = options_.clock();
  std::vector<PromptRow> prompts;
  std::vector<DecodeRow> rows;
  prompts.reserve(step.prompts.size());
  rows.reserve(step.sequences.size());
  for (const Step::Prompt& prompt : step.prompts) {
    Sequence& sequence = *Find(prompt.request);
    prompts.push_back(sequence.RowToPrefill(prompt));
    sequence.NotePrefill(now);
  }
  for (const Step::Sequence& sequence : step.sequences) {
    rows.push_back(Find(sequence.request)->RowToDecode(sequence));
  }
  if (absl::Status launched = model_->Launch(prompts, rows); !launched.ok()) {
    return ModelFailure(launched);
  }
  for (const Step::Prompt& prompt : step.prompts) Find(prompt.request)->LetVisionGo();
  in_flight_.push_back(RequestsOf(step));
  return absl::OkStatus();
}

void EngineCore::LaunchInParts(const Step& step) {
  for (const Step& part : PartsOf(step)) {
    CollectUntil(0);
    Launch(part);
  }
}

bool EngineCore::CollectUntil(size_t in_flight) {
  const bool any = in_flight_.size() > in_flight;
  while (in_flight_.size() > in_flight) Collect();
  return any;
}

void EngineCore::Collect() {
  const std::vector<RequestNumber> numbers = std::move(in_flight_.front());
  in_flight_.pop_front();
  absl::StatusOr<std::vector<SampledToken>> sampled = model_->Collect();
  if (sampled.ok() && sampled->size() != numbers.size()) {
    sampled = absl::InternalError("the model returned another number of tokens than rows");
  }
  const absl::Time now = options_.clock();
  if (!sampled.ok()) {
    spdlog::error("a step of {} rows: {}", numbers.size(), sampled.status().ToString());
    for (const RequestNumber number : numbers) Fail(number, ModelFailure(sampled.status()));
    return;
  }
  for (size_t i = 0; i < numbers.size(); ++i) Deliver(numbers[i], std::move((*sampled)[i]), now);
}

void EngineCore::Deliver(RequestNumber number, SampledToken sampled, absl::Time now) {
  Sequence* sequence = Find(number);
  if (sequence == nullptr) return;  // it has ended: the token is surplus
  scheduler_->Collected(number);
  if (sequence->answer.empty()) sequence->NoteFirstToken(now);
  Appended appended = Append(*sequence, std::move(sampled), *tokenizer_, end_tokens_);
  const bool has_news = !appended.delta.text.empty() || !appended.delta.token_ids.empty();
  if (has_news) sequence->request->sink->OnDelta(std::move(appended.delta));
  if (appended.finished) Finish(number, absl::OkStatus(), *appended.finished);
}

void EngineCore::Fail(RequestNumber number, const absl::Status& failure) {
  if (absl::IsAborted(failure)) return LoseDevice();
  if (Find(number) != nullptr) Finish(number, failure, FinishReason::kStop);
}

void EngineCore::LoseDevice() {
  device_lost_ = true;
  in_flight_.clear();
  EndAll(absl::UnavailableError("the device is lost"));
}

void EngineCore::Finish(RequestNumber number, const absl::Status& status, FinishReason reason) {
  auto node = sequences_.extract(number);
  scheduler_->Finish(number);
  End(node.mapped(), status, reason);
}

void EngineCore::End(Sequence& sequence, const absl::Status& status, FinishReason reason) {
  sequence.timings.total = options_.clock() - sequence.request->admitted;
  if (!sequence.started) sequence.timings.queue = sequence.timings.total;
  sequence.request->sink->OnFinished({status, reason, sequence.usage, sequence.timings});
}

Sequence* EngineCore::Find(RequestNumber number) {
  const auto found = sequences_.find(number);
  return found == sequences_.end() ? nullptr : &found->second;
}

}  // namespace llavamini
