// The media of a call: file bytes -> pixels -> the CLIP tower's input, or the encoding that the
// cache already has. Runs on the prepare pool's threads.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/image_cache.h"
#include "server/media/still.h"
#include "server/prepare/chat_call.h"
#include "server/prepare/interrupt.h"
#include "server/prepare/memory_budget.h"
#include "server/prepare/served_model.h"

namespace llavamini {

class ImagePreparer {
 public:
  // All outlive the preparer.
  ImagePreparer(const ServedModel* model, ImageCache* cache, std::shared_ptr<MemoryBudget> memory)
      : model_(model), cache_(cache), memory_(std::move(memory)) {}

  // The images or frames of a validated call, in order. Errors: media that is refused (with its
  // field), QueueFull when the memory for pictures is spent, CANCELLED, DEADLINE_EXCEEDED.
  // `progress` may be null; else it hears of every picture.
  absl::StatusOr<std::vector<PreparedImage>> Prepare(const ChatCall& call,
                                                     const Interrupt& interrupt,
                                                     AnswerSink* progress) const;

 private:
  struct Source;

  std::vector<Source> Collect(const ChatCall& call) const;
  absl::StatusOr<PreparedImage> PrepareOne(const Source& source) const;

  const ServedModel* model_;
  ImageCache* cache_;
  std::shared_ptr<MemoryBudget> memory_;
  MediaLimits media_limits_;
};

// Images or frames in a validated call.
int64_t CountImages(const ChatCall& call);

}  // namespace llavamini
