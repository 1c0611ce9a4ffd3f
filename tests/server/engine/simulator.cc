#include "tests/server/engine/simulator.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "server/engine/engine_core.h"
#include "server/engine/image_cache.h"
#include "tests/server/engine/answer_check.h"
#include "tests/server/engine/call_watch.h"
#include "tests/server/engine/expected_answer.h"
#include "tests/server/engine/fake_tokenizer.h"

namespace llavamini {
namespace {

constexpr int64_t kStepsToFreeAPlace = 2;

class Simulation {
 public:
  Simulation(const World& world, const PlantedFault& fault);
  WorldReport Run();

 private:
  void Submit(const WorldRequest& request);
  std::unique_ptr<Request> MakeRequest(const WorldRequest& request,
                                       std::shared_ptr<AnswerSink> sink);
  void RaiseCancels();
  void Step();
  void CheckLimits();
  void CheckPromptness();
  void CheckOrder();
  void CheckEnd();
  void Violation(const std::string& what) { report_.violations.push_back(what); }
  bool AllArrived() const { return arrived_ == world_.requests.size(); }

  const World& world_;
  const PlantedFault& fault_;
  absl::Time now_ = absl::UnixEpoch();
  int64_t step_ = 0;
  int64_t last_useful_step_ = 0;  // by which everything must have ended
  size_t arrived_ = 0;
  FakeTokenizer tokenizer_;
  FakeModel fake_;
  std::unique_ptr<Model> wrapped_;
  std::optional<ImageCache> cache_;
  Scheduler* scheduler_ = nullptr;  // the core's
  std::optional<EngineCore> core_;
  std::vector<std::unique_ptr<TrackedRequest>> tracked_;  // in order of arrival
  WorldReport report_;
  CallWatch watch_;
};

Simulation::Simulation(const World& world, const PlantedFault& fault)
    : world_(world),
      fault_(fault),
      fake_(world.facts, world.behaviour),
      cache_(std::in_place, world.device_cache_bytes, world.host_cache_bytes),
      watch_(world, fake_, tracked_, report_) {
  fake_.before_call = [this](const FakeCall& call) {
    now_ += watch_.DurationOfCall();
    return watch_.Hear(call, *scheduler_);
  };
  if (fault.wrap_model) wrapped_ = fault.wrap_model(fake_);
  EngineOptions options = world.options;
  options.clock = [this] { return now_; };
  if (fault.change_options) fault.change_options(options);
  const SchedulerLimits limits = LimitsOf(options, world.facts);
  auto scheduler =
      fault.make_scheduler ? fault.make_scheduler(limits) : std::make_unique<Scheduler>(limits);
  scheduler_ = scheduler.get();
  Model* model = wrapped_ ? wrapped_.get() : &fake_;
  core_.emplace(options, model, &tokenizer_, &*cache_, FakeEndTokens(), std::move(scheduler));
}

std::unique_ptr<Request> Simulation::MakeRequest(const WorldRequest& spec,
                                                 std::shared_ptr<AnswerSink> sink) {
  auto request = std::make_unique<Request>();
  request->prompt = spec.prompt;
  for (const size_t place : spec.images) {
    const WorldImage& image = world_.images[place];
    PreparedImage prepared;
    for (size_t i = 0; i < sizeof(uint64_t); ++i) {
      prepared.key[i] = static_cast<uint8_t>(image.content >> (8 * i));
    }
    prepared.key.back() = static_cast<uint8_t>(image.resolution_ratio);
    if (spec.looks_in_cache) prepared.encoded = cache_->Find(prepared.key);
    if (prepared.encoded == nullptr) {
      prepared.input = FakeImageInput(image.content, image.resolution_ratio);
    }
    request->images.push_back(std::move(prepared));
  }
  request->sampling.seed = spec.seed;
  request->sampling.logprobs = spec.logprobs;
  if (spec.penalty) request->sampling.repetition_penalty = 2;
  request->max_tokens = spec.max_tokens;
  request->stop = spec.stop;
  request->ignore_eos = spec.ignore_eos;
  request->wants_progress = spec.wants_progress;
  request->admitted = now_;
  request->deadline = now_ + spec.timeout;
  request->cancelled = std::make_shared<std::atomic<bool>>(false);
  request->sink = std::move(sink);
  return request;
}

void Simulation::Submit(const WorldRequest& spec) {
  tracked_.push_back(std::make_unique<TrackedRequest>());
  TrackedRequest& tracked = *tracked_.back();
  tracked.spec = spec;
  tracked.expected = AnswerAlone(world_, spec);
  tracked.sink = std::make_shared<RecordingSink>();
  tracked.sink->on_finished = [this, &tracked] {
    tracked.ended_at = now_;
    fake_.Release(tracked.spec.seed);
  };
  auto request = MakeRequest(spec, tracked.sink);
  tracked.cancelled = request->cancelled;
  tracked.arrived_at = now_;
  tracked.deadline = request->deadline;
  tracked.known_images = std::count_if(request->images.begin(), request->images.end(),
                                       [](const PreparedImage& i) { return i.encoded != nullptr; });
  const auto pages = tracked.expected.usage.prompt_tokens + spec.max_tokens + kPageTokens - 1;
  tracked.never_fits = pages / kPageTokens > world_.facts.pages;
  tracked.queue_full = core_->room() <= 0;
  tracked.device_was_lost = core_->device_lost();
  if (fault_.spoil_request) fault_.spoil_request(*request);
  core_->Arrive(std::move(request));
  if (tracked.MustBeRefused() && !tracked.ended()) Violation("a hopeless request was admitted");
  last_useful_step_ += 10 * static_cast<int64_t>(spec.images.size()) + 2 * spec.max_tokens + 8;
}

void Simulation::RaiseCancels() {
  for (const auto& request : tracked_) {
    if (!request->spec.cancel_after || request->ended()) continue;
    if (request->cancel_step || step_ < request->spec.arrival_step + *request->spec.cancel_after) {
      continue;
    }
    request->cancel_step = step_;
    request->cancelled->store(true);
  }
}

void Simulation::Step() {
  while (!AllArrived() && world_.requests[arrived_].arrival_step <= step_) {
    Submit(world_.requests[arrived_++]);
    last_useful_step_ = std::max(last_useful_step_, step_);
  }
  RaiseCancels();
  watch_.BeginStep();
  for (const auto& request : tracked_) {
    if (request->deadline <= now_ && !request->late_step) request->late_step = step_;
  }
  const bool worked = core_->RunStep();
  if (!worked && !core_->idle()) Violation("nothing to do though requests wait");
  now_ += absl::Milliseconds(1);
  CheckLimits();
  CheckPromptness();
  CheckOrder();
}

void Simulation::CheckLimits() {
  const EngineStats stats = core_->stats();
  if (stats.running > world_.options.max_running) Violation("too many running");
  if (stats.waiting > world_.options.max_waiting) Violation("too many waiting");
  if (cache_->device_bytes() > world_.device_cache_bytes ||
      cache_->host_bytes() > world_.host_cache_bytes) {
    Violation("the cache is too large");
  }
  if (fake_.prompts_alive() > stats.waiting) Violation("a fused prompt outlives its prefill");
  const PagePool& pages = scheduler_->pages();
  if (fake_.pages_owned() > pages.total() - pages.available()) Violation("a page in use is free");
  for (const std::string& complaint : fake_.complaints()) Violation(complaint);
}

void Simulation::CheckPromptness() {
  for (const auto& request : tracked_) {
    if (request->ended()) continue;
    const auto overdue = [this](const std::optional<int64_t>& since) {
      return since && step_ - *since + 1 >= kStepsToFreeAPlace;
    };
    if (overdue(request->cancel_step)) Violation("a cancelled request keeps its place");
    if (overdue(request->late_step)) Violation("a late request keeps its place");
    if (request->must_end) Violation("a failed request goes on");
  }
}

// Strictly first come, first served among requests whose images are fused; here those that have
// none.
void Simulation::CheckOrder() {
  const std::set<uint64_t>& prefilled_now = watch_.prefilled_now();
  for (const auto& older : tracked_) {
    if (prefilled_now.contains(older->spec.seed)) older->prefilled = true;
  }
  for (size_t i = 0; i < tracked_.size() && !prefilled_now.empty(); ++i) {
    const TrackedRequest& older = *tracked_[i];
    if (!older.spec.images.empty() || older.prefilled || older.ended()) continue;
    for (size_t j = i + 1; j < tracked_.size(); ++j) {
      if (prefilled_now.contains(tracked_[j]->spec.seed)) {
        Violation("a ready request was overtaken");
      }
    }
  }
}

void Simulation::CheckEnd() {
  if (!core_->idle()) Violation("requests are left over");
  for (const auto& request : tracked_) {
    for (std::string& problem : ProblemsOf(*request, core_->device_lost())) Violation(problem);
    CountOutcome(*request, report_.happenings);
  }
  const PagePool& pages = scheduler_->pages();
  if (pages.available() != pages.total()) Violation("pages are left over");
  core_.reset();
  cache_.reset();
  if (fake_.images_alive() != 0) Violation("encoded images are left over");
  if (fake_.prompts_alive() != 0) Violation("fused prompts are left over");
  if (fake_.steps_in_flight() != 0 && !watch_.lost()) Violation("a step is never collected");
}

WorldReport Simulation::Run() {
  while (report_.violations.empty() && (!AllArrived() || !core_->idle())) {
    Step();
    ++step_;
    if (AllArrived() && step_ > world_.requests.back().arrival_step + last_useful_step_ + 20) {
      Violation("a request starves");
    }
  }
  report_.happenings.steps = step_;
  if (report_.violations.empty()) CheckEnd();
  return std::move(report_);
}

}  // namespace

void Happenings::Add(const Happenings& other) {
  steps += other.steps;
  stopped += other.stopped;
  stopped_by_string += other.stopped_by_string;
  full_length += other.full_length;
  cancelled += other.cancelled;
  late += other.late;
  never_fits += other.never_fits;
  queue_full += other.queue_full;
  failed += other.failed;
  out_of_memory += other.out_of_memory;
  device_lost += other.device_lost;
  images += other.images;
  cached_images += other.cached_images;
  encoded_images += other.encoded_images;
  moved_to_host += other.moved_to_host;
  moved_to_device += other.moved_to_device;
  launched_ahead += other.launched_ahead;
  mixed_steps += other.mixed_steps;
  surplus_tokens += other.surplus_tokens;
  largest_batch = std::max(largest_batch, other.largest_batch);
}

WorldReport RunWorld(const World& world, const PlantedFault& fault) {
  return Simulation(world, fault).Run();
}

}  // namespace llavamini
