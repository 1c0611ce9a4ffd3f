#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "model/text/prompt.h"
#include "server/load.h"

namespace llavamini {
namespace {

constexpr int kPictureSide = 64;
constexpr int kWarmUpTokens = 4;

class WaitingSink final : public AnswerSink {
 public:
  void OnProgress(Stage, int64_t, int64_t) override {}
  void OnDelta(Delta) override {}
  void OnFinished(const Outcome& outcome) override {
    status_ = outcome.status;
    finished_.Notify();
  }
  absl::Status Wait() {
    finished_.WaitForNotification();
    return status_;
  }

 private:
  absl::Status status_;
  absl::Notification finished_;
};

std::shared_ptr<const ImageInput> GreyInput(const ServedModel& model) {
  Picture grey;
  grey.width = grey.height = kPictureSide;
  grey.rgb.assign(size_t{3} * kPictureSide * kPictureSide, 128);
  return std::make_shared<ImageInput>(
      MakeImageInput(grey, {model.resolution_ratio, model.image_side, model.pad_to_square}));
}

}  // namespace

absl::Status WarmUp(Engine& engine, const Tokenizer& tokenizer, const ServedModel& model) {
  const absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::Create(tokenizer);
  if (!chat_template.ok()) return chat_template.status();
  for (const bool with_picture : {true, false}) {
    PromptTurn turn;
    if (with_picture) turn.parts.push_back({/*is_media=*/true, ""});
    turn.parts.push_back({/*is_media=*/false, "What is this?"});
    auto sink = std::make_shared<WaitingSink>();
    auto request = std::make_unique<Request>();
    request->id = "warm-up";
    request->prompt = chat_template->Render({turn});
    if (with_picture) request->images.push_back({ImageKey{}, nullptr, GreyInput(model)});
    request->max_tokens = kWarmUpTokens;
    request->ignore_eos = true;
    request->admitted = absl::Now();
    request->cancelled = std::make_shared<std::atomic<bool>>(false);
    request->sink = sink;
    if (!engine.TrySubmit(request)) return absl::InternalError("the engine takes no request");
    if (absl::Status status = sink->Wait(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace llavamini
