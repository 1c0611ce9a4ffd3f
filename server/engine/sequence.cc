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

Sequence::Sequence(RequestNumber own_number, std::unique_ptr<Request> arrived_request,
                   absl::Time arrived_at, int32_t tokens_per_image)
    : number(own_number),
      request(std::move(arrived_request)),
      stops(request->stop),
      arrived(arrived_at) {
  const std::vector<PreparedImage>& images = request->images;
  images_encoded = std::count_if(images.begin(), images.end(), [](const PreparedImage& image) {
    return image.encoded != nullptr;
  });
  usage.images = static_cast<int64_t>(images.size());
  usage.prompt_tokens = PromptLength(request->prompt.size(), images.size(), tokens_per_image);
  usage.vision_tokens = usage.images * tokens_per_image;
  usage.cached_images = images_encoded;
  timings.media_decode = request->media_decode;
}

void Sequence::MarkStarted(absl::Time now) {
  if (started) return;
  started = true;
  timings.queue = now - request->admitted;
}

void Sequence::Report(Stage stage, int64_t done, int64_t total) const {
  if (request->wants_progress) request->sink->OnProgress(stage, done, total);
}

void Sequence::ReportEncoding() const {
  Report(Stage::kEncodingVision, images_encoded, usage.images);
}

void Sequence::NotePrefill(absl::Time now) {
  MarkStarted(now);
  prefill_launched = now;
  if (encoding_began < now) timings.vision_encode = now - encoding_began;
  Report(Stage::kPrefill, 0, usage.prompt_tokens);
}

void Sequence::NoteFirstToken(absl::Time now) {
  timings.prefill = now - prefill_launched;
  timings.first_token = now - request->admitted;
  Report(Stage::kPrefill, usage.prompt_tokens, usage.prompt_tokens);
}

void Sequence::LetVisionGo() {
  fused.reset();
  request->images.clear();
}

PromptRow Sequence::RowToPrefill(const Step::Prompt& planned) const {
  return {request->prompt, fused.get(), planned.pages, planned.place, &request->sampling};
}

DecodeRow Sequence::RowToDecode(const Step::Sequence& planned) const {
  // The token before is fed: its row is not in the pages yet.
  const int64_t position = usage.prompt_tokens + planned.token_index - 1;
  return {planned.place,       static_cast<int32_t>(position),
          planned.token_index, &request->sampling,
          request->prompt,     answer};
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
