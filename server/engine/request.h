// One request inside the server: what the prepare pool hands to the engine, and how the engine
// answers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/model.h"

namespace llavamini {

// SHA-256 of an image's bytes and of the options that it is encoded with.
using ImageKey = std::array<uint8_t, 32>;

// One image or frame: already encoded (found in the cache, in either of its tiers), or ready to be.
struct PreparedImage {
  ImageKey key{};
  EncodedImagePtr encoded;  // set: `input` is empty
  std::shared_ptr<const ImageInput> input;
};

enum class FinishReason { kStop, kStopString, kLength };

enum class Stage { kQueued, kDecodingMedia, kEncodingVision, kPrefill };

struct Usage {
  int64_t prompt_tokens = 0;  // vision tokens included
  // Every generated token, the end token and those of a stop string included.
  int64_t completion_tokens = 0;
  int64_t vision_tokens = 0;
  int64_t images = 0;
  // Found in the cache when the request was prepared or when its turn to encode came.
  int64_t cached_images = 0;
};

// All from the request's admission unless said otherwise.
struct Timings {
  absl::Duration queue;          // to the first step that worked on it, or to its end if none did
  absl::Duration media_decode;   // duration of decoding and resizing
  absl::Duration vision_encode;  // from the start of its first image's encoding to its prefill
  absl::Duration prefill;        // from the launch of its prefill to its first token
  absl::Duration first_token;
  absl::Duration total;
};

// The deltas' texts, joined, are the answer; so are their ids. Text may come later than its tokens:
// characters may be incomplete, and may turn out to begin a stop string.
struct Delta {
  std::string text;  // whole UTF-8 characters; a stop string and what follows it are left out
  std::vector<TokenId> token_ids;      // without the end token; with those of a stop string
  std::vector<SampledToken> logprobs;  // one per id, when asked for
};

// Statuses other than OK, after which `reason` means nothing: CANCELLED, DEADLINE_EXCEEDED,
// INVALID_ARGUMENT (could never run), RESOURCE_EXHAUSTED (memory), UNAVAILABLE (stopping, or the
// device is lost), INTERNAL (the model failed: its message is for the log, not for the caller).
struct Outcome {
  absl::Status status;
  FinishReason reason = FinishReason::kStop;
  Usage usage;
  Timings timings;
};

// Receives one answer. The engine calls it from its own thread, so a call must never block;
// OnFinished comes exactly once, last.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  virtual void OnProgress(Stage stage, int64_t done, int64_t total) = 0;
  virtual void OnDelta(Delta delta) = 0;
  virtual void OnFinished(const Outcome& outcome) = 0;
};

struct Request {
  std::string id;
  std::vector<TokenId> prompt;  // with at most one kImagePlaceholder
  std::vector<PreparedImage> images;
  SamplingParams sampling;
  int64_t max_tokens = 0;         // at least 1; prompt rows + max_tokens fit the context
  std::vector<std::string> stop;  // strings that end the answer and are left out of it
  bool ignore_eos = false;
  bool wants_progress = false;
  absl::Time admitted = absl::InfinitePast();
  absl::Time deadline = absl::InfiniteFuture();
  absl::Duration media_decode;  // filled by the prepare pool
  // Set by any thread; the engine frees the place within two steps.
  std::shared_ptr<std::atomic<bool>> cancelled;
  std::shared_ptr<AnswerSink> sink;
};

}  // namespace llavamini
