#include "server/engine/engine_core.h"

#include <atomic>
#include <cstddef>
#include <utility>

#include "absl/types/span.h"
#include "server/engine/batch.h"
#include "server/engine/image_encoder.h"
#include "spdlog/spdlog.h"

namespace llavamini {
namespace {

// One image's place in a request.
struct ImagePlace {
  RequestNumber request = 0;
  size_t index = 0;
};

void Report(const Sequence& sequence, Stage stage, int64_t done, int64_t total) {
  const Request& request = *sequence.request;
  if (request.wants_progress) request.sink->OnProgress(stage, done, total);
}

void ReportEncoding(const Sequence& sequence) {
  Report(sequence, Stage::kEncodingVision, sequence.usage.images - sequence.images_to_encode(),
         sequence.usage.images);
}

void TakeEncoded(Sequence& sequence, size_t index, const EncodedOrFailed& encoded) {
  sequence.images[index] = *encoded.image;
  sequence.request->images[index].input.reset();
  if (encoded.from_cache) ++sequence.usage.cached_images;
}

template <typename Result>
void LogFailures(const char* work, const std::vector<absl::StatusOr<Result>>& results) {
  for (const absl::StatusOr<Result>& result : results) {
    if (result.ok()) continue;
    spdlog::error("{} failed for a batch of {}: {}", work, results.size(),
                  result.status().ToString());
    return;
  }
}

}  // namespace

SchedulerLimits LimitsOf(const EngineOptions& options, const ModelFacts& facts) {
  return {options.max_running,
          options.max_waiting,
          options.max_images_per_step,
          options.max_images_ahead,
          options.max_prompt_rows_per_step,
          facts.pages};
}

EngineCore::EngineCore(const EngineOptions& options, Model* model, const Tokenizer* tokenizer,
                       ImageCache* cache, std::vector<TokenId> end_tokens,
                       std::unique_ptr<Scheduler> scheduler)
    : options_(options),
      model_(model),
      tokenizer_(tokenizer),
      cache_(cache),
      end_tokens_(std::move(end_tokens)),
      scheduler_(std::move(scheduler)) {}

void EngineCore::Arrive(std::unique_ptr<Request> request) {
  Sequence sequence(std::move(request), model_->facts().tokens_per_image);
  Report(sequence, Stage::kQueued, 0, 0);
  const RequestNumber number = next_number_++;
  const absl::Status admitted =
      device_lost_
          ? absl::UnavailableError("the device is lost")
          : scheduler_->Arrive({number, sequence.usage.prompt_tokens, sequence.request->max_tokens,
                                sequence.images_to_encode(), sequence.request->deadline});
  if (!admitted.ok()) return End(sequence, admitted, FinishReason::kStop);
  sequences_.emplace(number, std::move(sequence));
}

bool EngineCore::RunStep() {
  const bool cancelled = EndCancelled();
  const absl::Time now = options_.clock();
  const Step step = scheduler_->Plan(now);
  for (const RequestNumber number : step.expired) {
    Finish(number, absl::DeadlineExceededError("the deadline has passed"), FinishReason::kStop);
  }
  MarkStarted(step, now);
  Encode(step.images);
  Prefill(step.prompts);
  Decode(step.sequences);
  return cancelled || !step.empty();
}

void EngineCore::EndAll(const absl::Status& reason) {
  while (!sequences_.empty()) Finish(sequences_.begin()->first, reason, FinishReason::kStop);
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

void EngineCore::MarkStarted(const Step& step, absl::Time now) {
  const auto mark = [this, now](RequestNumber number) {
    Sequence& sequence = sequences_.at(number);
    if (sequence.started) return;
    sequence.started = true;
    sequence.timings.queue = now - sequence.request->admitted;
    if (sequence.images_to_encode() > 0) ReportEncoding(sequence);
  };
  for (const Step::Images& images : step.images) mark(images.request);
  for (const Step::Prompt& prompt : step.prompts) mark(prompt.request);
}

void EngineCore::Encode(const std::vector<Step::Images>& work) {
  if (work.empty()) return;
  std::vector<ImagePlace> places;
  std::vector<const PreparedImage*> images;
  for (const Step::Images& wanted : work) {
    const Sequence& sequence = sequences_.at(wanted.request);
    int64_t left = wanted.count;
    for (size_t i = 0; left > 0 && i < sequence.images.size(); ++i) {
      if (sequence.images[i] != nullptr) continue;
      places.push_back({wanted.request, i});
      images.push_back(&sequence.request->images[i]);
      --left;
    }
  }
  const absl::Time begin = options_.clock();
  const std::vector<EncodedOrFailed> encoded = EncodeImages(images, *model_, *cache_);
  const absl::Duration duration = options_.clock() - begin;
  for (size_t i = 0; i < places.size(); ++i) {
    Sequence* sequence = Find(places[i].request);
    if (sequence == nullptr) continue;  // another of its images failed
    if (encoded[i].image.ok()) {
      TakeEncoded(*sequence, places[i].index, encoded[i]);
    } else {
      Fail(places[i].request, encoded[i].image.status());
    }
  }
  for (const Step::Images& wanted : work) {
    Sequence* sequence = Find(wanted.request);
    if (sequence == nullptr) continue;
    sequence->timings.vision_encode += duration;
    ReportEncoding(*sequence);
  }
}

void EngineCore::Prefill(const std::vector<Step::Prompt>& work) {
  std::vector<RequestNumber> numbers;
  std::vector<PromptRow> rows;
  for (const Step::Prompt& prompt : work) {
    Sequence* sequence = Find(prompt.request);
    if (sequence == nullptr) continue;  // its images failed in this step
    sequence->pages = prompt.pages;
    numbers.push_back(prompt.request);
    rows.push_back(sequence->RowToPrefill());
    Report(*sequence, Stage::kPrefill, 0, sequence->usage.prompt_tokens);
  }
  if (rows.empty()) return;
  const absl::Time begin = options_.clock();
  auto sampled = RunBatch<SampledToken>(
      absl::MakeConstSpan(rows),
      [this](absl::Span<const PromptRow> prompts) { return model_->Prefill(prompts); });
  const absl::Time end = options_.clock();
  LogFailures("prefill", sampled);
  for (size_t i = 0; i < numbers.size(); ++i) {
    Sequence* sequence = Find(numbers[i]);
    if (sequence == nullptr) return;  // the device was lost
    sequence->timings.prefill = end - begin;
    sequence->images.clear();
    sequence->request->images.clear();
    if (sampled[i].ok()) {
      sequence->timings.first_token = end - sequence->request->admitted;
      Report(*sequence, Stage::kPrefill, sequence->usage.prompt_tokens,
             sequence->usage.prompt_tokens);
    }
    Deliver(numbers[i], std::move(sampled[i]));
  }
}

void EngineCore::Decode(const std::vector<RequestNumber>& work) {
  if (work.empty() || device_lost_) return;
  std::vector<DecodeRow> rows;
  for (const RequestNumber number : work) rows.push_back(sequences_.at(number).RowToDecode());
  auto sampled = RunBatch<SampledToken>(
      absl::MakeConstSpan(rows),
      [this](absl::Span<const DecodeRow> sequences) { return model_->Decode(sequences); });
  LogFailures("decode", sampled);
  for (size_t i = 0; i < work.size(); ++i) Deliver(work[i], std::move(sampled[i]));
}

void EngineCore::Deliver(RequestNumber number, absl::StatusOr<SampledToken> sampled) {
  Sequence* sequence = Find(number);
  if (sequence == nullptr) return;  // the device was lost
  if (!sampled.ok()) return Fail(number, sampled.status());
  Appended appended = Append(*sequence, *std::move(sampled), *tokenizer_, end_tokens_);
  const bool has_news = !appended.delta.text.empty() || !appended.delta.token_ids.empty();
  if (has_news) sequence->request->sink->OnDelta(std::move(appended.delta));
  if (appended.finished) Finish(number, absl::OkStatus(), *appended.finished);
}

void EngineCore::Fail(RequestNumber number, const absl::Status& failure) {
  if (absl::IsAborted(failure)) {
    device_lost_ = true;
    return EndAll(absl::UnavailableError("the device is lost"));
  }
  Finish(number, failure, FinishReason::kStop);
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
