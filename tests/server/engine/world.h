// A random world for the simulator: limits, pictures, requests and troubles, all from one seed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "model/model.h"
#include "server/engine/engine.h"
#include "tests/server/engine/fake_model.h"

namespace llavamini {

// splitmix64: the same everywhere, unlike the standard library's distributions.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  int64_t Between(int64_t low, int64_t high);  // both included
  bool OneIn(int64_t n) { return Between(1, n) == 1; }

 private:
  uint64_t state_;
};

struct WorldImage {
  uint64_t content = 0;
  int resolution_ratio = 1;
};

struct WorldRequest {
  uint64_t seed = 0;  // names it: unique in its world
  int64_t arrival_step = 0;
  std::vector<TokenId> prompt;
  std::vector<size_t> images;  // places in World::images
  int64_t max_tokens = 1;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool logprobs = false;
  bool penalty = false;  // so the model does not sample it ahead
  bool wants_progress = false;
  bool looks_in_cache = false;          // as the prepare pool does
  std::optional<int64_t> cancel_after;  // steps after its arrival
  absl::Duration timeout = absl::InfiniteDuration();
};

// How calls of the model fail; 0: never.
struct WorldTroubles {
  int64_t internal_one_in = 0;
  int64_t lost_one_in = 0;
  size_t rows_that_fit_memory = 0;  // more in one batch: RESOURCE_EXHAUSTED
  uint64_t too_large_one_in = 0;    // of the rows: RESOURCE_EXHAUSTED even alone
  int64_t slow_one_in = 0;          // a call takes 50 ms
};

struct World {
  EngineOptions options;
  ModelFacts facts;
  FakeBehaviour behaviour;
  size_t device_cache_bytes = 0, host_cache_bytes = 0;
  std::vector<WorldImage> images;
  std::vector<WorldRequest> requests;  // in order of arrival
  WorldTroubles troubles;
};

World MakeWorld(uint64_t seed);

}  // namespace llavamini
