// The command line of `llavamini-bench` as a plain struct. Pure: reads no file and no environment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/bench/picture.h"

namespace llavamini::bench {

enum class MediaKind { kNone, kImage, kFrames, kVideo };

// What one request is made of.
struct RequestOptions {
  std::string model;  // empty: the server's default
  MediaKind media = MediaKind::kImage;
  double repeat_share = 0;        // kImage: share of requests about a picture that was used before
  uint32_t distinct_images = 16;  // kImage: how many pictures the repeated ones are
  PictureSize size;
  PictureFormat format = PictureFormat::kJpeg;
  uint32_t frames = 0;  // kFrames: new pictures in each request
  std::string video;    // kVideo: path

  std::optional<uint32_t> prompt_tokens;  // else `prompt`
  std::string prompt = "What is in this picture?";
  uint32_t max_tokens = 64;
  bool respect_eos = false;
  float temperature = 0;
  std::optional<float> top_p;
  std::optional<uint32_t> top_k;
};

struct Arguments {
  bool help = false;
  std::string address;
  RequestOptions request;

  // One point per value; exactly one of the two is not empty.
  std::vector<uint32_t> concurrency;  // closed loop
  std::vector<double> rates;          // open loop, requests per second
  std::optional<uint32_t> max_in_flight;
  std::optional<uint64_t> requests;
  std::optional<absl::Duration> duration;
  uint32_t warmup = 8;
  uint64_t seed = 1;

  uint32_t channels = 8;
  std::optional<uint32_t> threads;
  absl::Duration timeout = absl::Seconds(600);
  std::string json;  // path; empty: none
  std::string label;
};

// words: without the program's name. default_address: where --address is not given.
// INVALID_ARGUMENT names the word that is wrong. Neither --requests nor --duration: 10 seconds.
absl::StatusOr<Arguments> ParseArguments(absl::Span<const std::string> words,
                                         const std::string& default_address);

std::string HelpText();

}  // namespace llavamini::bench
