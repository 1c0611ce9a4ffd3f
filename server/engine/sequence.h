// One request inside the engine, from its arrival to its end: how far it is, and how its tokens
// become text. Used by the engine's thread alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "model/model.h"
#include "model/text/stop_strings.h"
#include "model/text/tokenizer.h"
#include "model/text/utf8_stream.h"
#include "server/engine/request.h"

namespace llavamini {

struct Sequence {
  std::unique_ptr<Request> request;
  std::vector<EncodedImagePtr>
      images;  // one per image of the request, null until encoded; let go after the prefill
  std::vector<int32_t> pages;   // from the prefill on
  std::vector<TokenId> answer;  // every generated token
  Utf8Stream characters;
  StopStrings stops;
  bool started = false;  // a step has worked on it
  Usage usage;
  Timings timings;

  // tokens_per_image: C of the model.
  Sequence(std::unique_ptr<Request> arrived, int32_t tokens_per_image);

  int64_t images_to_encode() const;

  // The views live as long as the sequence is left alone.
  PromptRow RowToPrefill() const;
  DecodeRow RowToDecode() const;
};

struct Appended {
  Delta delta;                           // may be empty
  std::optional<FinishReason> finished;  // set: the answer ends with this token
};

// Takes the next generated token. One of end_tokens ends the answer (unless ignore_eos) and is no
// part of the delta. The last delta has all text that was held back.
Appended Append(Sequence& sequence, SampledToken sampled, const Tokenizer& tokenizer,
                absl::Span<const TokenId> end_tokens);

}  // namespace llavamini
