#include "server/prepare/prepare.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "server/prepare/errors.h"
#include "server/prepare/random_bits.h"
#include "server/prepare/validate_params.h"

namespace llavamini {
namespace {

Speaker SpeakerOf(Role role) {
  if (role == Role::kSystem) return Speaker::kSystem;
  return role == Role::kAssistant ? Speaker::kAssistant : Speaker::kUser;
}

std::vector<PromptTurn> TurnsOf(const ChatCall& call) {
  std::vector<PromptTurn> turns;
  for (const ChatMessage& message : call.messages) {
    PromptTurn turn;
    turn.speaker = SpeakerOf(message.role);
    for (const ContentPart& part : message.content) {
      if (const auto* text = std::get_if<TextPart>(&part)) {
        turn.parts.push_back({/*is_media=*/false, std::string(text->text)});
      } else {
        turn.parts.push_back({/*is_media=*/true, ""});
      }
    }
    turns.push_back(std::move(turn));
  }
  return turns;
}

}  // namespace

PreparedCall Preparer::RenderPrompt(const ChatCall& call, int64_t images) const {
  PreparedCall prepared;
  prepared.prompt = template_.Render(TurnsOf(call));
  prepared.prompt_tokens =
      PromptLength(prepared.prompt.size(), static_cast<size_t>(images), model_->tokens_per_image);
  prepared.vision_tokens = images * model_->tokens_per_image;
  return prepared;
}

absl::StatusOr<PromptMeasure> Preparer::Measure(const ChatCall& call,
                                                const Interrupt& interrupt) const {
  const absl::StatusOr<MediaPlan> plan = images_.Plan(call, interrupt);
  if (!plan.ok()) return plan.status();
  const PreparedCall prepared = RenderPrompt(call, plan->images);
  return PromptMeasure{prepared.prompt_tokens, prepared.vision_tokens, plan->images};
}

absl::StatusOr<PreparedCall> Preparer::Prepare(const ChatCall& call, const Interrupt& interrupt,
                                               AnswerSink* progress) const {
  if (absl::Status status = interrupt.Check(); !status.ok()) return status;
  const absl::Time start = absl::Now();
  const absl::StatusOr<MediaPlan> plan = images_.Plan(call, interrupt);
  if (!plan.ok()) return plan.status();
  PreparedCall prepared = RenderPrompt(call, plan->images);
  if (prepared.prompt_tokens >= model_->max_context_tokens) {
    return ContextLengthExceeded(model_->max_context_tokens, prepared.prompt_tokens);
  }
  absl::StatusOr<std::vector<PreparedImage>> images = images_.Prepare(*plan, interrupt, progress);
  if (!images.ok()) return images.status();
  prepared.images = *std::move(images);
  if (!prepared.images.empty()) prepared.media_decode = absl::Now() - start;
  return prepared;
}

std::unique_ptr<Request> Preparer::MakeRequest(const ChatCall& call, PreparedCall prepared) const {
  auto request = std::make_unique<Request>();
  const int64_t room = model_->max_context_tokens - prepared.prompt_tokens;
  const int64_t wanted =
      call.params.max_tokens ? int64_t{*call.params.max_tokens} : limits_->default_max_tokens;
  request->id = call.request_id;
  request->prompt = std::move(prepared.prompt);
  request->images = std::move(prepared.images);
  request->sampling = CompleteParams(call.params, model_->defaults, RandomSeed());
  request->max_tokens = std::min(wanted, room);
  request->stop = call.params.stop;
  request->ignore_eos = call.params.ignore_eos;
  request->wants_progress = call.include_progress;
  request->deadline = call.deadline;
  request->media_decode = prepared.media_decode;
  return request;
}

}  // namespace llavamini
