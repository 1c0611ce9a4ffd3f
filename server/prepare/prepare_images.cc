#include "server/prepare/prepare_images.h"

#include <iterator>
#include <limits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/media/video_sampling.h"
#include "server/prepare/errors.h"

namespace llavamini {
namespace {

int RatioOf(Detail detail, int checkpoint_ratio) {
  if (detail == Detail::kLow) return 1;
  if (detail == Detail::kHigh) return 2;
  return checkpoint_ratio;
}

int64_t InputBytes(const ImageInputOptions& options) {
  const int64_t parts = options.resolution_ratio == 1
                            ? 1
                            : int64_t{options.resolution_ratio} * options.resolution_ratio + 1;
  return parts * options.side * options.side * 3;
}

// The input together with its share of the memory budget: both end with the last copy of the
// pointer.
struct HeldInput {
  ImageInput input;
  std::shared_ptr<const void> share;
};

// Of files that are prepared at the same time, what became of the first that failed. Thread-safe.
class FirstFailure {
 public:
  bool IsBefore(int64_t file) const {
    absl::MutexLock lock(&mutex_);
    return file_ < file;
  }
  void Note(int64_t file, const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (file_ < file) return;
    file_ = file;
    status_ = status;
  }
  absl::Status status() const {
    absl::MutexLock lock(&mutex_);
    return status_;
  }

 private:
  mutable absl::Mutex mutex_;
  int64_t file_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<int64_t>::max();
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

// What the media code refused, with its field; whatever else ended the work, as it is.
absl::Status WithField(const std::string& field, const absl::Status& status) {
  return MediaFailureOf(status).has_value() ? InvalidMedia(field, status) : status;
}

}  // namespace

ImageInputOptions ImagePreparer::OptionsOf(Detail detail) const {
  return {RatioOf(detail, model_->resolution_ratio), model_->image_side, model_->pad_to_square};
}

std::vector<PlannedFile> ImagePreparer::Pictures(const ContentPart& part,
                                                 const std::string& field) const {
  std::vector<PlannedFile> files;
  if (const auto* image = std::get_if<ImagePart>(&part)) {
    files.push_back({field + ".image.source",
                     image->source.bytes,
                     PictureKind::kStill,
                     OptionsOf(image->detail),
                     VideoFacts(),
                     {}});
  } else if (const auto* frames = std::get_if<FramesPart>(&part)) {
    for (size_t i = 0; i < frames->frames.size(); ++i) {
      files.push_back({absl::StrCat(field, ".frames.frames[", i, "].source"),
                       frames->frames[i].bytes,
                       PictureKind::kFrame,
                       OptionsOf(frames->detail),
                       VideoFacts(),
                       {}});
    }
  }
  return files;
}

absl::StatusOr<PlannedFile> ImagePreparer::PlanVideo(const VideoPart& part,
                                                     const std::string& field,
                                                     const Interrupt& interrupt) const {
  PlannedFile file{field + ".source",      part.source.bytes, PictureKind::kVideo,
                   OptionsOf(part.detail), VideoFacts(),      {}};
  const absl::StatusOr<VideoFacts> facts =
      InspectVideo(file.bytes, video_limits_, [&] { return interrupt.Check(); });
  if (!facts.ok()) return WithField(file.field, facts.status());
  file.video = *facts;
  file.frames =
      SampleFrames(part.sampling, facts->frames, facts->frames_per_second, limits_->max_frames);
  if (file.frames.empty()) {
    return InvalidField(field + ".sampling", "must leave at least one frame of the video");
  }
  return file;
}

absl::StatusOr<MediaPlan> ImagePreparer::Plan(const ChatCall& call,
                                              const Interrupt& interrupt) const {
  MediaPlan plan;
  for (size_t m = 0; m < call.messages.size(); ++m) {
    for (size_t p = 0; p < call.messages[m].content.size(); ++p) {
      const ContentPart& part = call.messages[m].content[p];
      const std::string field = absl::StrCat("messages[", m, "].content[", p, "]");
      if (const auto* video = std::get_if<VideoPart>(&part)) {
        absl::StatusOr<PlannedFile> file = PlanVideo(*video, field + ".video", interrupt);
        if (!file.ok()) return file.status();
        plan.images += static_cast<int64_t>(file->frames.size());
        plan.files.push_back(*std::move(file));
        continue;
      }
      for (PlannedFile& file : Pictures(part, field)) {
        ++plan.images;
        plan.files.push_back(std::move(file));
      }
    }
  }
  return plan;
}

absl::Status ImagePreparer::SetInput(const PlannedFile& file, const Picture& picture,
                                     PreparedImage& image) const {
  auto held = std::make_shared<HeldInput>();
  held->share = memory_->TryTake(InputBytes(file.options));
  if (held->share == nullptr) return QueueFull();
  held->input = file.kind == PictureKind::kStill ? MakeImageInput(picture, file.options)
                                                 : MakeFrameInput(picture, file.options);
  image.input = std::shared_ptr<const ImageInput>(held, &held->input);
  return absl::OkStatus();
}

absl::Status ImagePreparer::PreparePicture(const PlannedFile& file, PreparedImage& image) const {
  image.key = MakeImageKey(file.bytes, file.kind, file.options);
  image.encoded = cache_->Find(image.key);
  if (image.encoded != nullptr) return absl::OkStatus();
  const absl::StatusOr<Picture> picture = DecodeStill(file.bytes, media_limits_);
  if (!picture.ok()) return InvalidMedia(file.field, picture.status());
  return SetInput(file, *picture, image);
}

// Decodes only when the cache lacks a frame.
absl::Status ImagePreparer::PrepareVideo(const PlannedFile& file, const Interrupt& interrupt,
                                         const std::function<void()>& done,
                                         absl::Span<PreparedImage> images) const {
  const ImageKey video = MakeImageKey(file.bytes, PictureKind::kVideo, file.options);
  std::vector<int64_t> missing;        // frames
  std::vector<size_t> missing_images;  // their places in `images`
  for (size_t i = 0; i < images.size(); ++i) {
    images[i].key = FrameKey(video, file.frames[i]);
    images[i].encoded = cache_->Find(images[i].key);
    if (images[i].encoded != nullptr) {
      done();
    } else {
      missing.push_back(file.frames[i]);
      missing_images.push_back(i);
    }
  }
  if (missing.empty()) return absl::OkStatus();
  const absl::Status decoded = DecodeFrames(
      file.bytes, file.video, missing, video_limits_, [&] { return interrupt.Check(); },
      [&](size_t position, const Picture& frame) {
        absl::Status status = SetInput(file, frame, images[missing_images[position]]);
        if (status.ok()) done();
        return status;
      });
  return decoded.ok() ? decoded : WithField(file.field, decoded);
}

absl::Status ImagePreparer::PrepareFile(const PlannedFile& file, const Interrupt& interrupt,
                                        const std::function<void()>& done,
                                        absl::Span<PreparedImage> images) const {
  if (absl::Status status = interrupt.Check(); !status.ok()) return status;
  if (file.kind == PictureKind::kVideo) return PrepareVideo(file, interrupt, done, images);
  absl::Status status = PreparePicture(file, images[0]);
  if (status.ok()) done();
  return status;
}

absl::StatusOr<std::vector<PreparedImage>> ImagePreparer::Prepare(const MediaPlan& plan,
                                                                  const Interrupt& interrupt,
                                                                  AnswerSink* progress) const {
  std::vector<PreparedImage> images(static_cast<size_t>(plan.images));
  std::vector<absl::Span<PreparedImage>> images_of;  // by file
  auto rest = absl::MakeSpan(images);
  for (const PlannedFile& file : plan.files) {
    const size_t count = file.kind == PictureKind::kVideo ? file.frames.size() : 1;
    images_of.push_back(rest.first(count));
    rest.remove_prefix(count);
  }
  absl::Mutex mutex;
  int64_t count = 0;
  const auto done = [&] {
    absl::MutexLock lock(&mutex);
    ++count;
    if (progress != nullptr) progress->OnProgress(Stage::kDecodingMedia, count, plan.images);
  };
  FirstFailure failure;
  pool_->ForEach(std::ssize(plan.files), [&](int64_t i) {
    if (failure.IsBefore(i)) return;
    const absl::Status status = PrepareFile(plan.files[i], interrupt, done, images_of[i]);
    if (!status.ok()) failure.Note(i, status);
  });
  if (absl::Status status = failure.status(); !status.ok()) return status;
  return images;
}

}  // namespace llavamini
