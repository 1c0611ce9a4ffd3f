#include "server/prepare/prepare_images.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/prepare/errors.h"
#include "server/prepare/image_key.h"

namespace llavamini {

// One picture of a call.
struct ImagePreparer::Source {
  std::string field;
  std::string_view bytes;
  PictureKind kind = PictureKind::kStill;
  ImageInputOptions options;
};

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

}  // namespace

std::vector<ImagePreparer::Source> ImagePreparer::Collect(const ChatCall& call) const {
  std::vector<Source> sources;
  for (size_t m = 0; m < call.messages.size(); ++m) {
    for (size_t p = 0; p < call.messages[m].content.size(); ++p) {
      const ContentPart& part = call.messages[m].content[p];
      const std::string field = absl::StrCat("messages[", m, "].content[", p, "]");
      const auto add = [&](std::string where, std::string_view bytes, PictureKind kind,
                           Detail detail) {
        const ImageInputOptions options = {RatioOf(detail, model_->resolution_ratio),
                                           model_->image_side, model_->pad_to_square};
        sources.push_back({std::move(where), bytes, kind, options});
      };
      if (const auto* image = std::get_if<ImagePart>(&part)) {
        add(field + ".image.source", image->source.bytes, PictureKind::kStill, image->detail);
      } else if (const auto* frames = std::get_if<FramesPart>(&part)) {
        for (size_t i = 0; i < frames->frames.size(); ++i) {
          add(absl::StrCat(field, ".frames.frames[", i, "].source"), frames->frames[i].bytes,
              PictureKind::kFrame, frames->detail);
        }
      }
    }
  }
  return sources;
}

absl::StatusOr<PreparedImage> ImagePreparer::PrepareOne(const Source& source) const {
  PreparedImage prepared;
  prepared.key = MakeImageKey(source.bytes, source.kind, source.options);
  prepared.encoded = cache_->Find(prepared.key);
  if (prepared.encoded != nullptr) return prepared;
  auto held = std::make_shared<HeldInput>();
  held->share = memory_->TryTake(InputBytes(source.options));
  if (held->share == nullptr) return QueueFull();
  const absl::StatusOr<Picture> picture = DecodeStill(source.bytes, media_limits_);
  if (!picture.ok()) return InvalidMedia(source.field, picture.status());
  held->input = source.kind == PictureKind::kStill ? MakeImageInput(*picture, source.options)
                                                   : MakeFrameInput(*picture, source.options);
  prepared.input = std::shared_ptr<const ImageInput>(held, &held->input);
  return prepared;
}

absl::StatusOr<std::vector<PreparedImage>> ImagePreparer::Prepare(const ChatCall& call,
                                                                  const Interrupt& interrupt,
                                                                  AnswerSink* progress) const {
  const std::vector<Source> sources = Collect(call);
  const auto total = static_cast<int64_t>(sources.size());
  std::vector<PreparedImage> images;
  images.reserve(sources.size());
  for (const Source& source : sources) {
    if (absl::Status status = interrupt.Check(); !status.ok()) return status;
    absl::StatusOr<PreparedImage> image = PrepareOne(source);
    if (!image.ok()) return image.status();
    images.push_back(*std::move(image));
    if (progress != nullptr) {
      progress->OnProgress(Stage::kDecodingMedia, static_cast<int64_t>(images.size()), total);
    }
  }
  return images;
}

int64_t CountImages(const ChatCall& call) {
  int64_t count = 0;
  for (const ChatMessage& message : call.messages) {
    for (const ContentPart& part : message.content) {
      if (std::holds_alternative<ImagePart>(part)) ++count;
      if (const auto* frames = std::get_if<FramesPart>(&part)) {
        count += static_cast<int64_t>(frames->frames.size());
      }
    }
  }
  return count;
}

}  // namespace llavamini
