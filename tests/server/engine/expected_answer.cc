#include "tests/server/engine/expected_answer.h"

#include <memory>
#include <numeric>

#include "model/text/utf8_stream.h"
#include "tests/server/engine/fake_model.h"
#include "tests/server/engine/fake_tokenizer.h"

namespace llavamini {
namespace {

// Text of all bytes at once; with the replacement of an incomplete last character when `whole`.
std::string TextOf(const std::string& bytes, bool whole) {
  Utf8Stream stream;
  std::string text = stream.Push(bytes);
  if (whole) text += stream.Flush();
  return text;
}

// True, and cut, when a stop string stands in the text.
bool CutAtStop(const WorldRequest& request, std::string& text) {
  if (request.stop.empty()) return false;
  const size_t place = text.find(request.stop.front());
  if (place == std::string::npos) return false;
  text.resize(place);
  return true;
}

// Takes tokens one by one from `next` until the answer ends.
template <typename Next>
void Generate(const WorldRequest& request, const Next& next, ExpectedAnswer& answer) {
  const FakeTokenizer tokenizer;
  std::string bytes;
  while (true) {
    const TokenId id = next(answer.ids);
    ++answer.usage.completion_tokens;
    const bool ended = !request.ignore_eos && (id == kFakeEndOfTurn || id == kFakeEndOfText);
    if (!ended) {
      answer.ids.push_back(id);
      bytes += tokenizer.Bytes(id);
    }
    const bool full = answer.usage.completion_tokens == request.max_tokens;
    answer.reason = ended ? FinishReason::kStop : FinishReason::kLength;
    answer.text = TextOf(bytes, /*whole=*/ended || full);
    if (CutAtStop(request, answer.text)) {
      answer.reason = FinishReason::kStopString;
      return;
    }
    if (ended || full) return;
  }
}

// All images of a request, encoded and fused one by one; null without images.
std::unique_ptr<FusedPrompt> FuseAlone(const World& world, const WorldRequest& request,
                                       Model& model) {
  if (request.images.empty()) return nullptr;
  const auto count = static_cast<int64_t>(request.images.size());
  std::unique_ptr<FusedPrompt> fused = *model.BeginFusion(request.prompt, count);
  for (const size_t place : request.images) {
    const WorldImage& image = world.images[place];
    const auto input = FakeImageInput(image.content, image.resolution_ratio);
    const std::unique_ptr<Encoding> encoding = *model.BeginEncoding({input.get()});
    while (encoding->pieces_left() > 0) encoding->RunPiece().IgnoreError();
    const std::vector<EncodedImagePtr> images = encoding->images();
    model.Fuse({FusionRow{fused.get(), images}}).IgnoreError();
  }
  return fused;
}

}  // namespace

ExpectedAnswer AnswerAlone(const World& world, const WorldRequest& request) {
  ExpectedAnswer answer;
  ModelFacts facts = world.facts;
  answer.usage.images = static_cast<int64_t>(request.images.size());
  answer.usage.vision_tokens = answer.usage.images * facts.tokens_per_image;
  answer.usage.prompt_tokens = static_cast<int64_t>(request.prompt.size()) +
                               answer.usage.vision_tokens - (request.images.empty() ? 0 : 1);
  const int64_t rows = answer.usage.prompt_tokens + request.max_tokens;
  facts.pages = static_cast<int32_t>(rows / kPageTokens + 1);
  std::vector<int32_t> pages(facts.pages);
  std::iota(pages.begin(), pages.end(), 0);

  FakeModel model(facts, world.behaviour);
  const std::unique_ptr<FusedPrompt> fused = FuseAlone(world, request, model);
  SamplingParams sampling;
  sampling.seed = request.seed;
  if (request.penalty) sampling.repetition_penalty = 2;
  const auto next = [&](const std::vector<TokenId>& ids) {
    const auto index = static_cast<int64_t>(ids.size());
    const auto position = static_cast<int32_t>(answer.usage.prompt_tokens + index - 1);
    const PromptRow prompt{request.prompt, fused.get(), pages, 0, &sampling};
    const DecodeRow row{0, position, index, &sampling, request.prompt, ids};
    (ids.empty() ? model.Launch({prompt}, {}) : model.Launch({}, {row})).IgnoreError();
    return model.Collect()->front().token.id;
  };
  Generate(request, next, answer);
  return answer;
}

}  // namespace llavamini
