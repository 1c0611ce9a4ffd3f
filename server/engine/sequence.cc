#include "server/engine/sequence.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace llavamini {
namespace {

// Adds bytes of the answer; true when they complete a stop string.
bool PushBytes(Sequence& sequence, std::string_view bytes, Delta& delta) {
  StopStrings::Result result = sequence.stops.Push(sequence.characters.Push(bytes));
  delta.text += result.text;
  return result.stopped;
}

// Adds what is still held back; true when it completes a stop string.
bool FlushText(Sequence& sequence, Delta& delta) {
  const StopStrings::Result result = sequence.stops.Push(sequence.characters.Flush());
  delta.text += result.text;
  if (!result.stopped) delta.text += sequence.stops.Flush();
  return result.stopped;
}

}  // namespace

Sequence::Sequence(std::unique_ptr<Request> arrived, int32_t tokens_per_image)
    : request(std::move(arrived)), stops(request->stop) {
  for (const PreparedImage& image : request->images) images.push_back(image.encoded);
  const auto count = static_cast<int64_t>(images.size());
  usage.prompt_tokens = PromptLength(request->prompt.size(), images.size(), tokens_per_image);
  usage.vision_tokens = count * tokens_per_image;
  usage.images = count;
  usage.cached_images = count - images_to_encode();
  timings.media_decode = request->media_decode;
}

int64_t Sequence::images_to_encode() const {
  return std::count(images.begin(), images.end(), nullptr);
}

PromptRow Sequence::RowToPrefill() const {
  return {request->prompt, images, pages, &request->sampling};
}

DecodeRow Sequence::RowToDecode() const {
  // The newest token is fed now: its row is not in the pages yet.
  const auto position = usage.prompt_tokens + static_cast<int64_t>(answer.size()) - 1;
  return {request->prompt, answer, static_cast<int32_t>(position), pages, &request->sampling};
}

Appended Append(Sequence& sequence, SampledToken sampled, const Tokenizer& tokenizer,
                absl::Span<const TokenId> end_tokens) {
  const Request& request = *sequence.request;
  const TokenId id = sampled.token.id;
  sequence.answer.push_back(id);
  ++sequence.usage.completion_tokens;
  Appended result;
  if (!request.ignore_eos &&
      std::find(end_tokens.begin(), end_tokens.end(), id) != end_tokens.end()) {
    result.finished = FinishReason::kStop;
  } else {
    result.delta.token_ids.push_back(id);
    if (request.sampling.logprobs) result.delta.logprobs.push_back(std::move(sampled));
    if (PushBytes(sequence, tokenizer.Bytes(id), result.delta)) {
      result.finished = FinishReason::kStopString;
      return result;
    }
    if (sequence.usage.completion_tokens >= request.max_tokens) {
      result.finished = FinishReason::kLength;
    }
  }
  if (result.finished && FlushText(sequence, result.delta)) {
    result.finished = FinishReason::kStopString;
  }
  return result;
}

}  // namespace llavamini
