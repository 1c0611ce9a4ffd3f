#include "tests/server/engine/simulator.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "server/engine/engine_core.h"
#include "server/engine/image_cache.h"
#include "tests/server/engine/answer_check.h"
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
  absl::Status BeforeCall(const FakeCall& call);
  absl::Status Trouble(const FakeCall& call);
  void NoteCall(const FakeCall& call);
  void Blame(const FakeCall& call, const absl::Status& failure);

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
  Random luck_;
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
  std::set<uint64_t> prefilled_now_;                      // seeds
  std::set<uint64_t> encoded_now_;                        // contents
  WorldReport report_;
};

Simulation::Simulation(const World& world, const PlantedFault& fault)
    : world_(world),
      fault_(fault),
      luck_(world.requests.front().seed),
      fake_(world.facts, FakeEndTokens(), world.end_every),
      cache_(world.cache_bytes) {
  fake_.before_call = [this](const FakeCall& call) { return BeforeCall(call); };
  if (fault.wrap_model) wrapped_ = fault.wrap_model(fake_);
  EngineOptions options = world.options;
  options.clock = [this] { return now_; };
  const SchedulerLimits limits = LimitsOf(options, world.facts);
  auto scheduler =
      fault.make_scheduler ? fault.make_scheduler(limits) : std::make_unique<Scheduler>(limits);
  scheduler_ = scheduler.get();
  Model* model = wrapped_ ? wrapped_.get() : &fake_;
  core_.emplace(options, model, &tokenizer_, &*cache_, FakeEndTokens(), std::move(scheduler));
}

absl::Status Simulation::BeforeCall(const FakeCall& call) {
  NoteCall(call);
  const bool slow = world_.troubles.slow_one_in > 0 && luck_.OneIn(world_.troubles.slow_one_in);
  now_ += slow ? absl::Milliseconds(50) : absl::Microseconds(100);
  absl::Status trouble = Trouble(call);
  if (!trouble.ok()) Blame(call, trouble);
  if (trouble.ok() && call.kind == FakeCall::Kind::kEncode) {
    for (const uint64_t content : call.who) {
      if (!encoded_now_.insert(content).second) Violation("an image is encoded twice in a step");
    }
    report_.happenings.encoded_images += call.rows;
  }
  if (trouble.ok() && call.kind == FakeCall::Kind::kPrefill) {
    prefilled_now_.insert(call.who.begin(), call.who.end());
  }
  return trouble;
}

absl::Status Simulation::Trouble(const FakeCall& call) {
  const WorldTroubles& troubles = world_.troubles;
  if (troubles.lost_one_in > 0 && luck_.OneIn(troubles.lost_one_in))
    return absl::AbortedError("lost");
  if (troubles.internal_one_in > 0 && luck_.OneIn(troubles.internal_one_in)) {
    return luck_.OneIn(2) ? absl::InternalError("failed") : absl::UnknownError("failed");
  }
  const bool any_too_large =
      troubles.too_large_one_in > 0 &&
      std::any_of(call.who.begin(), call.who.end(), [&](uint64_t who) {
        return Mix(who, static_cast<uint64_t>(call.kind)) % troubles.too_large_one_in == 0;
      });
  const bool too_many =
      troubles.rows_that_fit_memory > 0 && call.who.size() > troubles.rows_that_fit_memory;
  return any_too_large || too_many ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
}

void Simulation::NoteCall(const FakeCall& call) {
  const auto rows = static_cast<int64_t>(call.who.size());
  Happenings& happenings = report_.happenings;
  switch (call.kind) {
    case FakeCall::Kind::kEncode:
      if (rows > world_.options.max_images_per_step) Violation("too many images in a call");
      break;
    case FakeCall::Kind::kPrefill:
      if (rows > 1 && call.rows > world_.options.max_prompt_rows_per_step) {
        Violation("too many prompt rows in a step");
      }
      break;
    case FakeCall::Kind::kDecode:
      happenings.largest_batch = std::max(happenings.largest_batch, rows);
      if (rows > world_.options.max_running) Violation("too many sequences decoded");
      break;
  }
}

void Simulation::Blame(const FakeCall& call, const absl::Status& failure) {
  const bool retried = absl::IsResourceExhausted(failure) && call.who.size() > 1;
  if (retried) return;
  for (const auto& request : tracked_) {
    for (const uint64_t who : call.who) {
      const bool hit = call.kind == FakeCall::Kind::kEncode ? request->WaitsForImage(world_, who)
                                                            : request->spec.seed == who;
      if (hit) request->blames.insert(ModelFailureCode(failure));
      if (hit && call.kind != FakeCall::Kind::kEncode) request->must_end = true;
    }
  }
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
  last_useful_step_ += static_cast<int64_t>(spec.images.size()) + spec.max_tokens + 4;
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
  prefilled_now_.clear();
  encoded_now_.clear();
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
  if (static_cast<int64_t>(encoded_now_.size()) > world_.options.max_images_per_step) {
    Violation("too many images in a step");
  }
  if (cache_->bytes() > world_.cache_bytes) Violation("the cache is too large");
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

// Strictly first come, first served among requests whose images are encoded; here those that never
// needed to encode any.
void Simulation::CheckOrder() {
  for (const auto& older : tracked_) {
    if (prefilled_now_.contains(older->spec.seed)) older->prefilled = true;
  }
  for (size_t i = 0; i < tracked_.size() && !prefilled_now_.empty(); ++i) {
    const TrackedRequest& older = *tracked_[i];
    const bool ready = older.known_images == static_cast<int64_t>(older.spec.images.size());
    if (!ready || older.prefilled || older.ended()) continue;
    for (size_t j = i + 1; j < tracked_.size(); ++j) {
      if (prefilled_now_.contains(tracked_[j]->spec.seed))
        Violation("a ready request was overtaken");
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
  largest_batch = std::max(largest_batch, other.largest_batch);
}

WorldReport RunWorld(const World& world, const PlantedFault& fault) {
  return Simulation(world, fault).Run();
}

}  // namespace llavamini
