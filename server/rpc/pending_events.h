// The events of one streamed answer that its reader has not taken yet, joined where they can be: at
// most one progress per stage and one delta wait. No lock and no gRPC in it: token_stream.h adds
// both.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "llavamini/v1/chat.pb.h"
#include "model/text/tokenizer.h"
#include "server/engine/request.h"

namespace llavamini {

class PendingEvents {
 public:
  // `tokenizer` outlives this; it may be null for an answer that never has a delta.
  PendingEvents(v1::Started started, bool include_progress, const Tokenizer* tokenizer);

  // The first event of any kind is preceded by the started event. Progress after a delta, out of
  // order or repeated is left out.
  void AddProgress(Stage stage, int64_t done, int64_t total);
  void AddDelta(Delta delta);
  void AddFinished(const Outcome& outcome);

  // The next event to write: started, progress*, delta*, finished. False when nothing waits.
  bool TakeNext(v1::ChatEvent* event);

  // Forgets what waits.
  void Clear();

  // About what the waiting delta takes.
  int64_t bytes() const { return bytes_; }

 private:
  enum class Start { kNotDue, kDue, kTaken };

  const bool include_progress_;
  const Tokenizer* tokenizer_;
  v1::Started started_;
  Start start_ = Start::kNotDue;
  bool had_delta_ = false;
  v1::Progress last_progress_;
  std::vector<v1::Progress> progress_;  // oldest first
  v1::Delta delta_;
  bool delta_waits_ = false;
  v1::Finished finished_;
  bool finished_waits_ = false;
  int64_t bytes_ = 0;
};

}  // namespace llavamini
