#include "tests/server/engine/call_watch.h"

#include <algorithm>

namespace llavamini {
namespace {

using Kind = FakeCall::Kind;

}  // namespace

CallWatch::CallWatch(const World& world, const FakeModel& fake, const TrackedRequests& tracked,
                     WorldReport& report)
    : world_(world),
      fake_(fake),
      tracked_(tracked),
      report_(report),
      luck_(world.requests.front().seed) {}

void CallWatch::BeginStep() {
  prefilled_now_.clear();
  encoded_now_.clear();
  pieces_now_ = 0;
  milliseconds_of_pieces_ = 0;
  encodes_alone_ = false;
}

absl::Duration CallWatch::DurationOfCall() {
  const bool slow = world_.troubles.slow_one_in > 0 && luck_.OneIn(world_.troubles.slow_one_in);
  return slow ? absl::Milliseconds(50) : absl::Microseconds(100);
}

absl::Status CallWatch::Hear(const FakeCall& call, const Scheduler& scheduler) {
  if (lost_) Violation("a lost device is called");
  Check(call, scheduler);
  absl::Status trouble = Trouble(call);
  if (trouble.ok()) {
    NoteSuccess(call);
  } else {
    Blame(call, trouble);
  }
  return trouble;
}

absl::Status CallWatch::Trouble(const FakeCall& call) {
  const WorldTroubles& troubles = world_.troubles;
  if (troubles.lost_one_in > 0 && luck_.OneIn(troubles.lost_one_in)) {
    lost_ = true;
    return absl::AbortedError("lost");
  }
  if (troubles.internal_one_in > 0 && luck_.OneIn(troubles.internal_one_in)) {
    return luck_.OneIn(2) ? absl::InternalError("failed") : absl::UnknownError("failed");
  }
  if (call.kind == Kind::kCollect) return absl::OkStatus();  // its memory is there already
  const bool any_too_large =
      troubles.too_large_one_in > 0 &&
      std::any_of(call.who.begin(), call.who.end(), [&](uint64_t who) {
        return Mix(who, static_cast<uint64_t>(call.kind)) % troubles.too_large_one_in == 0;
      });
  const bool too_many =
      troubles.rows_that_fit_memory > 0 && call.who.size() > troubles.rows_that_fit_memory;
  return any_too_large || too_many ? absl::ResourceExhaustedError("memory") : absl::OkStatus();
}

void CallWatch::Check(const FakeCall& call, const Scheduler& scheduler) {
  const auto images = static_cast<int64_t>(call.who.size());
  if (call.kind == Kind::kBeginEncoding && images > world_.options.max_images_per_batch) {
    Violation("too many images in a batch");
  }
  const bool no_cache = world_.device_cache_bytes + world_.host_cache_bytes == 0;
  if (no_cache && fake_.images_alive() > world_.options.max_images_ahead) {
    Violation("too many encoded images are held");
  }
  if (call.kind == Kind::kPiece && scheduler.running() > 0 && !encodes_alone_) {
    ++pieces_now_;
    milliseconds_of_pieces_ += fake_.PieceMilliseconds(call.rows);
  }
  if (call.kind != Kind::kLaunch) return;
  CheckStep(call);
  CheckPieces(call.rows);
}

// More than one piece fits what is left of two steps of an idle server, or three times the step
// where images pile up.
void CallWatch::CheckPieces(int64_t rows) {
  const double step = fake_.StepMilliseconds(rows);
  const double most = std::max(2 * fake_.StepMilliseconds(1) - step, 3 * step);
  const bool fits = milliseconds_of_pieces_ > 0 && milliseconds_of_pieces_ <= most;
  if (pieces_now_ > 1 && !fits) Violation("running answers are held up by images");
  pieces_now_ = 0;
}

void CallWatch::CheckStep(const FakeCall& call) {
  const auto sequences = static_cast<int64_t>(call.who.size()) - call.prompts;
  if (sequences > world_.options.max_running) Violation("too many sequences in a step");
  if (call.prompts > 1 && call.rows > world_.options.max_step_rows) {
    Violation("too many rows in a step");
  }
}

void CallWatch::NoteSuccess(const FakeCall& call) {
  Happenings& happenings = report_.happenings;
  if (call.kind == Kind::kPiece && call.pieces_left == 0) NoteEncoded(call);
  if (call.kind == Kind::kLaunch) NoteLaunched(call);
  happenings.moved_to_host += call.kind == Kind::kMoveToHost;
  happenings.moved_to_device += call.kind == Kind::kMoveToDevice;
  if (call.kind != Kind::kCollect) return;
  for (const auto& request : tracked_) {
    const bool in_step = std::count(call.who.begin(), call.who.end(), request->spec.seed) > 0;
    happenings.surplus_tokens += in_step && request->ended();
  }
}

void CallWatch::NoteEncoded(const FakeCall& call) {
  for (const uint64_t content : call.who) {
    if (!encoded_now_.insert(content).second) Violation("an image is encoded twice in a step");
  }
  report_.happenings.encoded_images += call.rows;
}

void CallWatch::NoteLaunched(const FakeCall& call) {
  prefilled_now_.insert(call.who.begin(), call.who.begin() + call.prompts);
  for (const auto& request : tracked_) {
    request->launched += std::count(call.who.begin(), call.who.end(), request->spec.seed);
    if (request->launched > request->spec.max_tokens) {
      Violation("a token beyond the last is asked for");
    }
  }
  const auto sequences = static_cast<int64_t>(call.who.size()) - call.prompts;
  Happenings& happenings = report_.happenings;
  happenings.largest_batch = std::max(happenings.largest_batch, sequences);
  happenings.mixed_steps += call.prompts > 0 && sequences > 0;
  happenings.launched_ahead += fake_.steps_in_flight() > 0;
}

void CallWatch::Blame(const FakeCall& call, const absl::Status& failure) {
  const bool is_encoding = call.kind == Kind::kBeginEncoding || call.kind == Kind::kPiece;
  const bool is_step = call.kind == Kind::kLaunch || call.kind == Kind::kCollect;
  const auto parts = call.kind == Kind::kFuse ? call.rows : static_cast<int64_t>(call.who.size());
  if (absl::IsResourceExhausted(failure) && parts > 1) {  // each is tried alone
    encodes_alone_ = encodes_alone_ || is_encoding;
    return;
  }
  for (const auto& request : tracked_) {
    if (request->ended()) continue;
    for (const uint64_t who : call.who) {
      const bool hit = is_step ? request->spec.seed == who
                               : request->WaitsForImage(world_, who) ||
                                     FakePromptName(request->spec.prompt) == who;
      if (hit) request->blames.insert(ModelFailureCode(failure));
      if (hit && is_step) request->must_end = true;
    }
  }
}

}  // namespace llavamini
