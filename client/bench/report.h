// From what was measured to figures, a table and JSON. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client/bench/arguments.h"
#include "client/bench/load.h"
#include "client/bench/statistics.h"
#include "llavamini/v1/chat.pb.h"
#include "llavamini/v1/model.pb.h"
#include "nlohmann/json.hpp"

namespace llavamini::bench {

// The figures of one value of --concurrency or --rate. Rates and latencies are of answered
// requests.
struct Point {
  bool open_loop = false;
  double load = 0;      // concurrency, or requests per second
  double window_s = 0;  // first counted request's due time to last counted answer's end
  int64_t started = 0;
  int64_t answered = 0;
  int64_t failed = 0;
  int64_t unfinished = 0;                 // ended by Ctrl-C
  std::map<std::string, int64_t> errors;  // failed requests by status code
  int most_in_flight = 0;

  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t images = 0;
  int64_t cached_images = 0;
  double requests_per_s = 0;
  double output_tokens_per_s = 0;
  double images_per_s = 0;

  // Milliseconds.
  Summary ttft;
  Summary itl;
  Summary e2e;
  Summary start_delay;  // from due to handed to gRPC: what the client itself added
  // The server's own timings.
  Summary queue;
  Summary media_decode;
  Summary vision_encode;
  Summary prefill;
  Summary first_token;
};

// stopped: requests that ended with CANCELLED were ended by Ctrl-C.
Point Measure(bool open_loop, double load, const LoadResult& result, bool stopped);

// Two lines above the rows, and a row; no line feed at the end.
std::string TableHead(bool open_loop);
std::string TableRow(const Point& point);

// What a run was about.
struct RunFacts {
  v1::ServerInfo server;
  v1::Model model;
  v1::Usage request;  // the tokens and images of one request, as the server counts them
  std::string question;
  int64_t picture_bytes = 0;
  uint32_t threads = 0;
  std::string start_time;  // RFC 3339
};

nlohmann::ordered_json ToJson(const Arguments& arguments, const RunFacts& facts,
                              const std::vector<Point>& points);

}  // namespace llavamini::bench
