// The media of a call: file bytes -> pixels -> the CLIP tower's input, or the encoding that the
// cache already has. Runs on the prepare pool's threads; pictures of one call on all that are free.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/image_cache.h"
#include "server/media/still.h"
#include "server/media/video.h"
#include "server/prepare/chat_call.h"
#include "server/prepare/image_key.h"
#include "server/prepare/interrupt.h"
#include "server/prepare/memory_budget.h"
#include "server/prepare/prepare_pool.h"
#include "server/prepare/served_model.h"

namespace llavamini {

// One picture file of a call, or one video file with the frames to take of it.
struct PlannedFile {
  std::string field;
  std::string_view bytes;  // the call's
  PictureKind kind = PictureKind::kStill;
  ImageInputOptions options;
  VideoFacts video;             // kVideo only
  std::vector<int64_t> frames;  // kVideo only
};

struct MediaPlan {
  std::vector<PlannedFile> files;
  int64_t images = 0;  // pictures and frames
};

class ImagePreparer {
 public:
  // All outlive the preparer.
  ImagePreparer(const ServedModel* model, const CallLimits* limits, ImageCache* cache,
                std::shared_ptr<MemoryBudget> memory, PreparePool* pool)
      : model_(model), limits_(limits), cache_(cache), memory_(std::move(memory)), pool_(pool) {}

  // The media of a validated call, in order. Videos are looked into for their number of frames.
  // Errors: a video that is refused (with its field), CANCELLED, DEADLINE_EXCEEDED.
  absl::StatusOr<MediaPlan> Plan(const ChatCall& call, const Interrupt& interrupt) const;

  // The images and frames of a plan, in order. Errors, of the first file that has one: media that
  // is refused (with its field), QueueFull when the memory for pictures is spent, CANCELLED,
  // DEADLINE_EXCEEDED. `progress` may be null; else it hears of every picture, one call at a time.
  absl::StatusOr<std::vector<PreparedImage>> Prepare(const MediaPlan& plan,
                                                     const Interrupt& interrupt,
                                                     AnswerSink* progress) const;

 private:
  std::vector<PlannedFile> Pictures(const ContentPart& part, const std::string& field) const;
  absl::StatusOr<PlannedFile> PlanVideo(const VideoPart& part, const std::string& field,
                                        const Interrupt& interrupt) const;
  ImageInputOptions OptionsOf(Detail detail) const;
  absl::Status PrepareFile(const PlannedFile& file, const Interrupt& interrupt,
                           const std::function<void()>& done,
                           absl::Span<PreparedImage> images) const;
  absl::Status PreparePicture(const PlannedFile& file, PreparedImage& image) const;
  absl::Status PrepareVideo(const PlannedFile& file, const Interrupt& interrupt,
                            const std::function<void()>& done,
                            absl::Span<PreparedImage> images) const;
  // An input from `picture`, with its share of the memory. QueueFull.
  absl::Status SetInput(const PlannedFile& file, const Picture& picture,
                        PreparedImage& image) const;

  const ServedModel* model_;
  const CallLimits* limits_;
  ImageCache* cache_;
  std::shared_ptr<MemoryBudget> memory_;
  PreparePool* pool_;
  MediaLimits media_limits_;
  VideoLimits video_limits_;
};

}  // namespace llavamini
