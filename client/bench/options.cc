#include "client/bench/options.h"

#include <array>
#include <cstdint>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace llavamini::bench {
namespace {

constexpr uint32_t kMostStreams = 65'536;
constexpr uint32_t kMostThreads = 64;
constexpr uint32_t kMostImages = 1'000'000;
constexpr int kMostSide = 16'384;
constexpr double kMostRate = 1e6;

template <typename Integer>
bool ReadInteger(const std::string& text, Integer least, Integer most, Integer* number) {
  return absl::SimpleAtoi(text, number) && *number >= least && *number <= most;
}

bool ReadSeconds(const std::string& text, absl::Duration* duration) {
  double seconds = 0;
  if (!absl::SimpleAtod(text, &seconds) || !(seconds > 0 && seconds <= 1e7)) return false;
  *duration = absl::Seconds(seconds);
  return true;
}

// Values separated by commas, each read by `read`.
template <typename Number, typename Read>
bool ReadList(const std::string& text, std::vector<Number>* numbers, Read read) {
  numbers->clear();
  for (const absl::string_view piece : absl::StrSplit(text, ',')) {
    Number number{};
    if (!read(std::string(piece), &number)) return false;
    numbers->push_back(number);
  }
  return true;
}

bool SetConcurrency(const std::string& value, Draft& draft) {
  return ReadList(value, &draft.arguments.concurrency,
                  [](const std::string& text, uint32_t* streams) {
                    return ReadInteger(text, 1u, kMostStreams, streams);
                  });
}

bool SetRates(const std::string& value, Draft& draft) {
  return ReadList(value, &draft.arguments.rates, [](const std::string& text, double* rate) {
    return absl::SimpleAtod(text, rate) && *rate > 0 && *rate <= kMostRate;
  });
}

bool SetImage(const std::string& value, Draft& draft) {
  draft.image = true;
  if (value == "none") {
    draft.arguments.request.media = MediaKind::kNone;
  } else if (value == "new" || value == "repeated") {
    draft.arguments.request.media = MediaKind::kImage;
    draft.arguments.request.repeat_share = value == "new" ? 0 : 1;
  } else {
    return false;
  }
  return true;
}

bool SetShare(const std::string& value, Draft& draft) {
  double share = 0;
  if (!absl::SimpleAtod(value, &share) || !(share >= 0 && share <= 1)) return false;
  draft.share = share;
  return true;
}

bool SetSize(const std::string& value, Draft& draft) {
  const std::vector<std::string> sides = absl::StrSplit(value, 'x');
  PictureSize& size = draft.arguments.request.size;
  draft.pictures_shaped = true;
  return sides.size() == 2 && ReadInteger(sides[0], 1, kMostSide, &size.width) &&
         ReadInteger(sides[1], 1, kMostSide, &size.height);
}

bool SetFormat(const std::string& value, Draft& draft) {
  draft.pictures_shaped = true;
  draft.arguments.request.format = value == "png" ? PictureFormat::kPng : PictureFormat::kJpeg;
  return value == "png" || value == "jpeg";
}

bool SetPrompt(const std::string& value, Draft& draft) {
  draft.prompt = true;
  draft.arguments.request.prompt = value;
  return !value.empty();
}

constexpr auto
    kOptions =
        std::
            to_array<Option>(
                {
                    {"--address", "HOST:PORT", "the server (or LLAVAMINI_ADDRESS; 127.0.0.1:50051)",
                     [](const std::string& value, Draft& draft) {
                       draft.arguments.address = value;
                       return !value.empty();
                     }},
                    {"--concurrency", "N,...", "closed loop: N requests at any time (1)",
                     SetConcurrency},
                    {"--rate", "R,...", "open loop: R requests a second, Poisson arrivals",
                     SetRates},
                    {"--max-in-flight", "N",
                     "open loop: later arrivals wait in the client, and it counts",
                     [](const std::string& value, Draft& draft) {
                       return ReadInteger(value, 1u, kMostStreams,
                                          &draft.arguments.max_in_flight.emplace());
                     }},
                    {"--requests", "N", "counted requests of each point",
                     [](const std::string& value, Draft& draft) {
                       return ReadInteger<uint64_t>(value, 1, 1'000'000'000,
                                                    &draft.arguments.requests.emplace());
                     }},
                    {"--duration", "S",
                     "seconds in which requests of a point start (10 without --requests)",
                     [](const std::string& value, Draft& draft) {
                       return ReadSeconds(value, &draft.arguments.duration.emplace());
                     }},
                    {"--warmup", "N", "requests before each point that are not counted (8)",
                     [](const std::string& value, Draft& draft) {
                       return ReadInteger(value, 0u, 1'000'000u, &draft.arguments.warmup);
                     }},
                    {"--seed", "N", "of arrivals, pictures and sampling (1)",
                     [](const std::string& value, Draft& draft) {
                       return absl::SimpleAtoi(value, &draft.arguments.seed);
                     }},
                    {"--image", "new|repeated|none", "the picture of a request (new)", SetImage},
                    {"--repeat-share", "0..1",
                     "share of requests about a picture used before (new 0, repeated 1)", SetShare},
                    {"--distinct-images", "N", "how many pictures are repeated in turn (16)",
                     [](const std::string& value, Draft& draft) {
                       draft.distinct = true;
                       return ReadInteger(value, 1u, kMostImages,
                                          &draft.arguments.request.distinct_images);
                     }},
                    {"--image-size", "WxH", "pixels of pictures and frames (336x336)", SetSize},
                    {"--image-format", "jpeg|png", "of pictures and frames (jpeg)", SetFormat},
                    {"--frames", "N", "N new frames in each request, instead of a picture",
                     [](const std::string& value, Draft& draft) {
                       draft.arguments.request.media = MediaKind::kFrames;
                       return ReadInteger(value, 1u, kMostImages, &draft.arguments.request.frames);
                     }},
                    {"--video", "FILE", "this video in each request, the same bytes each time",
                     [](const std::string& value, Draft& draft) {
                       draft.arguments.request.media = MediaKind::kVideo;
                       draft.arguments.request.video = value;
                       return !value.empty();
                     }},
                    {"--prompt", "TEXT", "the question", SetPrompt},
                    {"--prompt-tokens", "N",
                     "a question that makes exactly N prompt tokens, vision tokens included",
                     [](const std::string& value, Draft& draft) {
                       return ReadInteger(value, 1u, 1u << 24,
                                          &draft.arguments.request.prompt_tokens.emplace());
                     }},
                    {"--max-tokens", "N", "tokens of each answer (64)",
                     [](const std::string& value, Draft& draft) {
                       return ReadInteger(value, 1u, 1u << 24, &draft.arguments.request.max_tokens);
                     }},
                    {"--respect-eos", "", "let the model end an answer before --max-tokens",
                     [](const std::string&, Draft& draft) {
                       return draft.arguments.request.respect_eos = true;
                     }},
                    {"--temperature", "T", "of sampling (0: greedy)",
                     [](const std::string& value, Draft& draft) {
                       return absl::SimpleAtof(value, &draft.arguments.request.temperature);
                     }},
                    {"--top-p", "P", "nucleus mass, in (0, 1]",
                     [](const std::string& value, Draft& draft) {
                       return absl::SimpleAtof(value, &draft.arguments.request.top_p.emplace());
                     }},
                    {"--top-k", "N", "most likely tokens kept; 0 keeps all",
                     [](const std::string& value, Draft& draft) {
                       return absl::SimpleAtoi(value, &draft.arguments.request.top_k.emplace());
                     }},
                    {"--model", "NAME", "the served model",
                     [](const std::string& value, Draft& draft) {
                       draft.arguments.request.model = value;
                       return !value.empty();
                     }},
                    {"--timeout", "SECONDS", "deadline of each request (600)",
                     [](const std::string& value, Draft& draft) {
                       return ReadSeconds(value, &draft.arguments.timeout);
                     }},
                    {"--channels", "N", "connections; at least one a thread (8)",
                     [](const std::string& value, Draft& draft) {
                       return ReadInteger(value, 1u, 1024u, &draft.arguments.channels);
                     }},
                    {"--threads", "N", "threads that take answers (one per 8 cores, at most 4)",
                     [](const std::string& value, Draft& draft) {
                       return ReadInteger(value, 1u, kMostThreads,
                                          &draft.arguments.threads.emplace());
                     }},
                    {"--json", "FILE", "write the whole result there",
                     [](const std::string& value, Draft& draft) {
                       draft.arguments.json = value;
                       return !value.empty();
                     }},
                    {"--label", "TEXT", "a name for the result",
                     [](const std::string& value, Draft& draft) {
                       draft.arguments.label = value;
                       return true;
                     }},
                });

}  // namespace

absl::Span<const Option> Options() { return kOptions; }

}  // namespace llavamini::bench
