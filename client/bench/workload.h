// What each request of a run asks. Made once; then only read: safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/bench/arguments.h"
#include "client/bench/picture.h"
#include "llavamini/v1/chat.pb.h"

namespace llavamini::bench {

// Which request of a run: pictures follow from it.
struct Turn {
  uint64_t number = 0;  // unique in the run
  // The place among a point's warm-up requests; the first of them show each repeated picture once.
  // -1: a counted request.
  int64_t warmup = -1;
};

// Number of the picture of a turn. Numbers below `distinct` are the repeated pictures, all others
// are used once. Any stretch of k turns has `share` of k repeated ones, give or take one; they take
// turns.
uint64_t ChoosePicture(const Turn& turn, double share, uint32_t distinct);

class Workload {
 public:
  // `run` tells this run's pictures from those of others; `video` is the file of kVideo.
  Workload(const RequestOptions& options, uint64_t run, uint64_t seed, const std::string& video);

  // The question of every request from now on. Not while requests are made.
  void SetQuestion(const std::string& text);

  // A request to hand to Fill(), and without media: for counting text alone.
  const v1::ChatRequest& Blank() const { return blank_; }
  v1::ChatRequest TextOnly(const std::string& text) const;

  // Makes *request, a copy of Blank() or what Fill() made of it, that of `turn`. Allocates nothing
  // once the strings have their size.
  void Fill(const Turn& turn, v1::ChatRequest* request) const;

  // Warm-up requests of a point, at least as many as show every repeated picture.
  uint64_t WarmupRequests(uint64_t wanted) const;

  uint32_t max_tokens() const { return options_.max_tokens; }
  const std::string& question() const { return question_; }
  // Mean size of the pictures' files in bytes; 0 without pictures.
  int64_t picture_bytes() const;

 private:
  const RequestOptions options_;
  const uint64_t run_;
  const uint64_t seed_;
  std::vector<StampablePicture> pictures_;  // empty: no pictures are made
  v1::ChatRequest blank_;
  std::string question_;
};

}  // namespace llavamini::bench
