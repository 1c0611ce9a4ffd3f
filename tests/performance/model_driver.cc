#include "tests/performance/model_driver.h"

#include <chrono>
#include <memory>
#include <utility>

#include "tests/performance/checked.h"

namespace llavamini {

double Now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double, std::milli>(Clock::now().time_since_epoch()).count();
}

ModelDriver::ModelDriver(Model* model, int side, int places) : model_(model) {
  for (int i = 0; i < kMostImages; ++i) {
    ImageInput input;
    input.side = side;
    input.parts.resize(size_t{3} * side * side);
    for (size_t at = 0; at < input.parts.size(); ++at) {
      input.parts[at] = static_cast<uint8_t>((at * 2654435761u + i * 97) >> 13);
    }
    inputs_.push_back(std::move(input));
  }
  for (TokenId id = 1; id <= kTextTokens; ++id) text_.push_back(id * 7);
  with_image_ = text_;
  with_image_.insert(with_image_.begin() + 5, kImagePlaceholder);
  for (int place = 0; place < places; ++place) {
    std::vector<int32_t> pages(kPagesPerPlace);
    for (int i = 0; i < kPagesPerPlace; ++i) pages[i] = place * kPagesPerPlace + i;
    pages_.push_back(pages);
  }
}

std::vector<EncodedImagePtr> ModelDriver::Encode(int count) {
  std::vector<const ImageInput*> views;
  for (int i = 0; i < count; ++i) views.push_back(&inputs_[i]);
  auto encoding = Checked(model_->BeginEncoding(views));
  while (encoding->pieces_left() > 0) Checked(encoding->RunPiece());
  return encoding->images();
}

void ModelDriver::First(Place place, const std::vector<EncodedImagePtr>& image) {
  std::unique_ptr<FusedPrompt> fused;
  if (!image.empty()) {
    fused = Checked(model_->BeginFusion(with_image_, 1));
    Checked(model_->Fuse({{fused.get(), image}}));
  }
  std::vector<TokenId> plain = text_;
  plain.push_back(9);
  const PromptRow row{image.empty() ? plain : with_image_, fused.get(), pages_[place], place,
                      &greedy_};
  Checked(model_->Launch({row}, {}));
  Checked(model_->Collect());
}

void ModelDriver::LaunchPrompts(int rows) {
  std::vector<PromptRow> prompts;
  for (Place place = 0; place < rows; ++place) {
    prompts.push_back({text_, nullptr, pages_[place], place, &greedy_});
    if (prompts.size() == 16 || place + 1 == rows) {
      Checked(model_->Launch(prompts, {}));
      Checked(model_->Collect());
      prompts.clear();
    }
  }
  position_ = kTextTokens;
}

void ModelDriver::LaunchRows(int rows) {
  std::vector<DecodeRow> decode;
  for (Place place = 0; place < rows; ++place) {
    decode.push_back({place, position_, position_ - kTextTokens + 1, &greedy_, {}, {}});
  }
  ++position_;
  Checked(model_->Launch({}, decode));
}

void ModelDriver::Step(int rows) {
  LaunchRows(rows);
  Checked(model_->Collect());
}

double ModelDriver::Decode(int rows, int steps) {
  LaunchPrompts(rows);
  for (int i = 0; i < 40; ++i) Step(rows);
  LaunchRows(rows);
  const double begin = Now();
  for (int step = 0; step < steps; ++step) Step(rows);  // collects the one before
  const double milliseconds = (Now() - begin) / steps;
  Checked(model_->Collect());
  return milliseconds;
}

double ModelDriver::FramesPerSecond(int batch, int frames) {
  auto fused = Checked(model_->BeginFusion(with_image_, frames));
  First(0, {});
  const double begin = Now();
  for (int done = 0; done < frames; done += batch) {
    Checked(model_->Fuse({{fused.get(), Encode(batch)}}));
  }
  First(0, {});  // waits for what is before it; its own time is that of one prefill
  return frames / (Now() - begin) * 1000;
}

}  // namespace llavamini
