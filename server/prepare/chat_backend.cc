#include "server/prepare/chat_backend.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/prepare/errors.h"
#include "server/prepare/validate.h"

namespace llavamini {
namespace {

int64_t SourceBytes(const MediaSource& source) { return static_cast<int64_t>(source.bytes.size()); }

// What a call holds while it waits for its preparation.
int64_t HeldBytes(const ChatCall& call) {
  int64_t bytes = 0;
  for (const ChatMessage& message : call.messages) {
    for (const ContentPart& part : message.content) {
      if (const auto* text = std::get_if<TextPart>(&part)) {
        bytes += static_cast<int64_t>(text->text.size());
      } else if (const auto* image = std::get_if<ImagePart>(&part)) {
        bytes += SourceBytes(image->source);
      } else if (const auto* video = std::get_if<VideoPart>(&part)) {
        bytes += SourceBytes(video->source);
      } else if (const auto* frames = std::get_if<FramesPart>(&part)) {
        for (const MediaSource& frame : frames->frames) bytes += SourceBytes(frame);
      }
    }
  }
  return bytes;
}

// Owners of what a call's views point to and of its share of the memory budget.
struct Storage {
  std::shared_ptr<const void> views;
  std::shared_ptr<const void> share;
};

// Runs work whose own failure must end one call only.
template <typename Work>
absl::Status Guarded(Work work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("exception while preparing: ", error.what()));
  }
}

}  // namespace

absl::Status ChatBackend::Admit(ChatCall& call) const {
  if (draining_.load(std::memory_order_relaxed)) return Draining();
  if (absl::Status status = ValidateCall(call, *parts_.model, *parts_.limits); !status.ok()) {
    return status;
  }
  if (parts_.engine->stats().waiting >= parts_.max_waiting) return QueueFull();
  std::shared_ptr<const void> share = parts_.memory->TryTake(HeldBytes(call));
  if (share == nullptr) return QueueFull();
  call.storage = std::make_shared<Storage>(Storage{std::move(call.storage), std::move(share)});
  return absl::OkStatus();
}

absl::Status ChatBackend::Enqueue(PreparePool::Job job) {
  return parts_.pool->TrySubmit(job) ? absl::OkStatus() : QueueFull();
}

absl::Status ChatBackend::Submit(ChatCall call, std::shared_ptr<AnswerSink> sink,
                                 CancelFlag cancelled) {
  const absl::Time admitted = absl::Now();
  if (absl::Status status = Admit(call); !status.ok()) return status;
  Interrupt interrupt{std::move(cancelled), call.deadline};
  return Enqueue([this, call = std::move(call), sink = std::move(sink),
                  interrupt = std::move(interrupt), admitted]() mutable {
    const absl::Status status =
        Guarded([&] { return PrepareAndSubmit(std::move(call), sink, interrupt, admitted); });
    if (status.ok()) return;
    Outcome outcome;
    outcome.status = status;
    outcome.timings.total = absl::Now() - admitted;
    sink->OnFinished(outcome);
  });
}

absl::Status ChatBackend::PrepareAndSubmit(ChatCall call, const std::shared_ptr<AnswerSink>& sink,
                                           const Interrupt& interrupt, absl::Time admitted) {
  absl::StatusOr<PreparedCall> prepared =
      parts_.preparer->Prepare(call, interrupt, call.include_progress ? sink.get() : nullptr);
  if (!prepared.ok()) return prepared.status();
  std::unique_ptr<Request> request = parts_.preparer->MakeRequest(call, *std::move(prepared));
  call = ChatCall();  // the uploaded bytes are not needed any more
  request->admitted = admitted;
  request->cancelled = interrupt.cancelled;
  request->sink = sink;
  if (!parts_.engine->TrySubmit(request)) {
    return draining_.load(std::memory_order_relaxed) ? Draining() : QueueFull();
  }
  sink->OnProgress(Stage::kQueued, 0, 0);
  return absl::OkStatus();
}

absl::Status ChatBackend::Count(ChatCall call, CancelFlag cancelled, CountDone done) {
  if (absl::Status status = Admit(call); !status.ok()) return status;
  Interrupt interrupt{std::move(cancelled), call.deadline};
  return Enqueue([this, call = std::move(call), interrupt = std::move(interrupt),
                  done = std::move(done)]() mutable {
    TokenCount count;
    const absl::Status status = Guarded([&] {
      if (absl::Status stop = interrupt.Check(); !stop.ok()) return stop;
      const absl::StatusOr<PromptMeasure> measure = parts_.preparer->Measure(call, interrupt);
      if (!measure.ok()) return measure.status();
      count.usage.prompt_tokens = measure->prompt_tokens;
      count.usage.vision_tokens = measure->vision_tokens;
      count.usage.images = measure->images;
      count.remaining_tokens =
          std::max<int64_t>(0, parts_.model->max_context_tokens - measure->prompt_tokens);
      return absl::OkStatus();
    });
    call = ChatCall();
    if (status.ok()) {
      done(count);
    } else {
      done(status);
    }
  });
}

void ChatBackend::Cancel(const CancelFlag& cancelled) {
  cancelled->store(true, std::memory_order_relaxed);
  parts_.engine->Wake();
}

}  // namespace llavamini
