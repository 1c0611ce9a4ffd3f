// One request inside the engine, from its arrival to its end: how far it is, and how its tokens
// become text. Used by the engine's thread alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/model.h"
#include "model/text/stop_strings.h"
#include "model/text/tokenizer.h"
#include "model/text/utf8_stream.h"
#include "server/engine/request.h"
#include "server/engine/scheduler.h"

namespace llavamini {

struct Sequence {
  RequestNumber number = 0;
  // Of each image that waits to be fused: `encoded` once it is, on the device or the host, else
  // `input`.
  std::unique_ptr<Request> request;
  std::unique_ptr<FusedPrompt> fused;  // from its first image's fusion to the prefill
  size_t images_fused = 0;             // the first so many are fused and let go
  int64_t images_encoded = 0;          // known or encoded, wherever they are now
  absl::Status vision_failure;         // an image or the fusion failed: the request is to be failed
  std::vector<TokenId> answer;         // every token collected
  Utf8Stream characters;
  StopStrings stops;
  bool started = false;  // a step has worked on it
  absl::Time arrived;    // in the engine
  absl::Time encoding_began = absl::InfiniteFuture();
  absl::Time prefill_launched;
  Usage usage;
  Timings timings;

  // tokens_per_image: C of the model.
  Sequence(RequestNumber number, std::unique_ptr<Request> arrived_request, absl::Time arrived,
           int32_t tokens_per_image);

  int64_t images_left() const { return usage.images - static_cast<int64_t>(images_fused); }

  // Work on it begins, unless it has: ends its time in the queue.
  void MarkStarted(absl::Time now);

  // If the caller wants to hear of it.
  void Report(Stage stage, int64_t done, int64_t total) const;
  void ReportEncoding() const;

  // Its prefill is launched, its first token is known.
  void NotePrefill(absl::Time now);
  void NoteFirstToken(absl::Time now);

  // After its prefill.
  void LetVisionGo();

  // The views live as long as the sequence and the step's row are left alone.
  PromptRow RowToPrefill(const Step::Prompt& planned) const;
  DecodeRow RowToDecode(const Step::Sequence& planned) const;
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
