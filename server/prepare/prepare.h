// From a validated call to what the engine needs: prompt ids and images. Runs on the prepare pool's
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/text/prompt.h"
#include "server/engine/request.h"
#include "server/prepare/chat_call.h"
#include "server/prepare/interrupt.h"
#include "server/prepare/prepare_images.h"
#include "server/prepare/served_model.h"

namespace llavamini {

struct PreparedCall {
  std::vector<TokenId> prompt;  // with one kImagePlaceholder when there are images
  std::vector<PreparedImage> images;
  int64_t prompt_tokens = 0;  // rows in the language model, vision tokens included
  int64_t vision_tokens = 0;
  absl::Duration media_decode;
};

// What a prompt takes.
struct PromptMeasure {
  int64_t prompt_tokens = 0;
  int64_t vision_tokens = 0;
  int64_t images = 0;
};

class Preparer {
 public:
  // All outlive the preparer.
  Preparer(const ServedModel* model, const CallLimits* limits, ChatTemplate chat_template,
           ImagePreparer images)
      : model_(model), limits_(limits), template_(chat_template), images_(std::move(images)) {}

  // What the call's prompt takes: no picture is decoded, a video only where its codec hides how
  // many frames it has. Errors: a video that is refused, CANCELLED, DEADLINE_EXCEEDED.
  absl::StatusOr<PromptMeasure> Measure(const ChatCall& call, const Interrupt& interrupt) const;

  // The whole preparation. Errors: those of Measure, then CONTEXT_LENGTH_EXCEEDED, then those of
  // ImagePreparer::Prepare.
  absl::StatusOr<PreparedCall> Prepare(const ChatCall& call, const Interrupt& interrupt,
                                       AnswerSink* progress) const;

  // The engine's request for a prepared call; sink, cancel flag and time of admission are the
  // caller's to set.
  std::unique_ptr<Request> MakeRequest(const ChatCall& call, PreparedCall prepared) const;

 private:
  PreparedCall RenderPrompt(const ChatCall& call, int64_t images) const;

  const ServedModel* model_;
  const CallLimits* limits_;
  ChatTemplate template_;
  ImagePreparer images_;
};

}  // namespace llavamini
