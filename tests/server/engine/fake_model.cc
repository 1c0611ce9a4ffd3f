#include "tests/server/engine/fake_model.h"

#include <algorithm>
#include <set>
#include <utility>

#include "tests/server/engine/fake_tokenizer.h"

namespace llavamini {
namespace {

using Kind = FakeCall::Kind;

}  // namespace

// A batch of images, by their contents.
class FakeEncoding : public Encoding {
 public:
  FakeEncoding(FakeModel& model, absl::Span<const ImageInput* const> images)
      : model_(model), pieces_left_(model.behaviour_.pieces) {
    ++model_.encodings_under_way_;
    for (const ImageInput* image : images) {
      contents_.push_back(ContentOf(*image));
      ratios_.push_back(image->resolution_ratio);
    }
  }
  ~FakeEncoding() override {
    if (pieces_left_ > 0) --model_.encodings_under_way_;
  }
  int pieces_left() const override { return pieces_left_; }
  absl::Status RunPiece() override {
    if (pieces_left_ <= 0) model_.Complain("a piece too many");
    const auto count = static_cast<int64_t>(contents_.size());
    absl::Status status =
        model_.Ask({Kind::kPiece, contents_, 0, count, /*pieces_left=*/pieces_left_ - 1});
    if (!status.ok()) return status;
    if (--pieces_left_ == 0) --model_.encodings_under_way_;
    return absl::OkStatus();
  }
  std::vector<EncodedImagePtr> images() const override {
    if (pieces_left_ > 0) model_.Complain("images are taken before the last piece");
    std::vector<EncodedImagePtr> images;
    for (size_t i = 0; i < contents_.size(); ++i) {
      images.push_back(std::make_shared<FakeEncodedImage>(
          Mix(contents_[i], ratios_[i]), 1 + contents_[i] % 4, model_.images_alive_));
    }
    return images;
  }

 private:
  FakeModel& model_;
  int pieces_left_;
  std::vector<uint64_t> contents_;
  std::vector<int> ratios_;
};

ModelFacts FakeFacts(int32_t pages) {
  ModelFacts facts;
  facts.vocab_size = kFakeVocabulary;
  facts.pages = pages;
  facts.places = 8;
  facts.max_images = 8;
  facts.steps_ahead = 1;
  return facts;
}

FakeModel::FakeModel(ModelFacts facts, FakeBehaviour behaviour)
    : facts_(std::move(facts)),
      behaviour_(std::move(behaviour)),
      store_(facts_, {facts_.vocab_size, behaviour_.end_tokens, behaviour_.end_every}) {}

absl::StatusOr<std::unique_ptr<Encoding>> FakeModel::BeginEncoding(
    absl::Span<const ImageInput* const> images) {
  FakeCall call{Kind::kBeginEncoding, {}, 0, static_cast<int64_t>(images.size())};
  for (const ImageInput* image : images) {
    if (image->resolution_ratio != images[0]->resolution_ratio) Complain("resolution ratios mixed");
    call.who.push_back(ContentOf(*image));
  }
  if (call.rows > facts_.max_images) Complain("more images than the model takes");
  if (encodings_under_way_ > 0) Complain("an encoding is begun while another is under way");
  if (absl::Status status = Ask(std::move(call)); !status.ok()) return status;
  return std::make_unique<FakeEncoding>(*this, images);
}

absl::StatusOr<EncodedImagePtr> FakeModel::MoveToHost(const EncodedImagePtr& image) {
  if (!behaviour_.has_host) return absl::UnimplementedError("there is one memory");
  const auto& fake = dynamic_cast<const FakeEncodedImage&>(*image);
  if (fake.on_host()) Complain("an image is moved to where it is");
  absl::Status status = Ask({Kind::kMoveToHost, {fake.content()}, 0, 1});
  if (!status.ok()) return status;
  return std::make_shared<FakeEncodedImage>(fake.content(), fake.bytes(), images_alive_,
                                            /*on_host=*/true);
}

absl::StatusOr<EncodedImagePtr> FakeModel::MoveToDevice(const EncodedImagePtr& image) {
  const auto& fake = dynamic_cast<const FakeEncodedImage&>(*image);
  if (!fake.on_host()) Complain("an image is moved to where it is");
  absl::Status status = Ask({Kind::kMoveToDevice, {fake.content()}, 0, 1});
  if (!status.ok()) return status;
  return std::make_shared<FakeEncodedImage>(fake.content(), fake.bytes(), images_alive_);
}

absl::StatusOr<std::unique_ptr<FusedPrompt>> FakeModel::BeginFusion(
    absl::Span<const TokenId> prompt, int64_t images) {
  if (std::count(prompt.begin(), prompt.end(), kImagePlaceholder) != 1 || images < 1) {
    Complain("a fusion without placeholder or images");
  }
  const uint64_t name = FakePromptName(prompt);
  if (absl::Status status = Ask({Kind::kBeginFusion, {name}, 0, images}); !status.ok()) {
    return status;
  }
  return std::make_unique<FakeFusedPrompt>(name, images, prompts_alive_);
}

absl::Status FakeModel::Fuse(absl::Span<const FusionRow> rows) {
  FakeCall call{Kind::kFuse, {}};
  std::set<const FusedPrompt*> prompts;
  for (const FusionRow& row : rows) {
    if (row.images.empty()) Complain("a fusion of no images");
    if (!prompts.insert(row.prompt).second) Complain("a prompt stands twice in a fusion");
    for (const EncodedImagePtr& image : row.images) {
      if (image == nullptr || image->on_host()) Complain("an image is not on the device");
    }
    call.who.push_back(dynamic_cast<FakeFusedPrompt&>(*row.prompt).name);
    call.rows += static_cast<int64_t>(row.images.size());
  }
  if (absl::Status status = Ask(std::move(call)); !status.ok()) return status;
  for (const FusionRow& row : rows) {
    auto& prompt = dynamic_cast<FakeFusedPrompt&>(*row.prompt);
    for (const EncodedImagePtr& image : row.images) {
      prompt.contents.push_back(dynamic_cast<const FakeEncodedImage&>(*image).content());
    }
  }
  return absl::OkStatus();
}

bool FakeModel::SamplesAhead(const SamplingParams& sampling) const {
  return sampling.repetition_penalty == 1;
}

absl::Status FakeModel::Launch(absl::Span<const PromptRow> prompts,
                               absl::Span<const DecodeRow> rows) {
  FakeCall call{
      Kind::kLaunch, {}, static_cast<int64_t>(prompts.size()), static_cast<int64_t>(rows.size())};
  for (const PromptRow& prompt : prompts) {
    call.who.push_back(prompt.sampling->seed);
    call.rows += static_cast<int64_t>(RowsOf(prompt).size());
  }
  for (const DecodeRow& row : rows) call.who.push_back(row.sampling->seed);
  StepInFlight step{call.who, call.prompts, {}};
  if (static_cast<int32_t>(in_flight_.size()) > facts_.steps_ahead) {
    Complain("too many steps ahead");
  }
  if (absl::Status status = Ask(std::move(call)); !status.ok()) return status;
  for (const PromptRow& prompt : prompts) {
    step.tokens.push_back(store_.Prefill(prompt, RowsOf(prompt)));
  }
  for (const DecodeRow& row : rows) {
    step.tokens.push_back(store_.Decode(row, /*needs_answer=*/!SamplesAhead(*row.sampling)));
  }
  in_flight_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SampledToken>> FakeModel::Collect() {
  if (in_flight_.empty()) {
    Complain("nothing to collect");
    return absl::InternalError("nothing to collect");
  }
  const StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  absl::Status status = Ask({Kind::kCollect, step.seeds, step.prompts});
  if (!status.ok()) return status;
  return step.tokens;
}

double FakeModel::StepMilliseconds(int64_t rows) const {
  return behaviour_.step_milliseconds * static_cast<double>(rows);
}

double FakeModel::PieceMilliseconds(int64_t images) const {
  return behaviour_.piece_milliseconds * static_cast<double>(images);
}

absl::Status FakeModel::Ask(FakeCall call) {
  if (call.who.empty()) Complain("an empty batch");
  const bool by_name = call.kind == Kind::kFuse;  // two requests may ask the same
  if (!by_name && std::set(call.who.begin(), call.who.end()).size() != call.who.size()) {
    Complain("a row stands twice in a batch");
  }
  return before_call ? before_call(call) : absl::OkStatus();
}

std::vector<uint64_t> FakeModel::RowsOf(const PromptRow& prompt) {
  std::vector<uint64_t> rows;
  const auto* fused = dynamic_cast<const FakeFusedPrompt*>(prompt.fused);
  for (const TokenId id : prompt.prompt) {
    if (id != kImagePlaceholder) {
      rows.push_back(Mix(1, id));
      continue;
    }
    const auto contents = fused == nullptr ? std::vector<uint64_t>() : fused->contents;
    if (fused == nullptr || static_cast<int64_t>(contents.size()) != fused->images_wanted) {
      Complain("an image is missing");
    }
    for (const uint64_t content : contents) {
      for (int32_t i = 0; i < facts_.tokens_per_image; ++i) rows.push_back(Mix(content, i));
    }
  }
  return rows;
}

}  // namespace llavamini
