#include "tests/server/engine/expected_answer.h"

#include <algorithm>
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

  FakeModel model(facts, FakeEndTokens(), world.end_every);
  std::vector<EncodedImagePtr> images;
  for (const size_t place : request.images) {
    const WorldImage& image = world.images[place];
    const auto input = FakeImageInput(image.content, image.resolution_ratio);
    images.push_back(model.EncodeImages({input.get()})->front());
  }
  SamplingParams sampling;
  sampling.seed = request.seed;
  const auto next = [&](const std::vector<TokenId>& ids) {
    if (ids.empty()) {
      return model.Prefill({PromptRow{request.prompt, images, pages, &sampling}})->front().token.id;
    }
    const auto position = answer.usage.prompt_tokens + static_cast<int64_t>(ids.size()) - 1;
    const DecodeRow row{request.prompt, ids, static_cast<int32_t>(position), pages, &sampling};
    return model.Decode({row})->front().token.id;
  };
  Generate(request, next, answer);
  return answer;
}

}  // namespace llavamini
