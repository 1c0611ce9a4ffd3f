// Runs the engine's core, step by step in virtual time, through a random world with the fake model,
// and says what went wrong.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/engine/request.h"
#include "server/engine/scheduler.h"
#include "tests/server/engine/fake_model.h"
#include "tests/server/engine/world.h"

namespace llavamini {

// Where a test puts a fault, to show that the simulator notices; all of it empty: the engine as it
// is.
struct PlantedFault {
  std::function<std::unique_ptr<Scheduler>(const SchedulerLimits&)> make_scheduler;
  std::function<std::unique_ptr<Model>(Model&)> wrap_model;  // between the engine and the fake
  std::function<void(Request&)> spoil_request;               // what the engine sees of it
  std::function<void(EngineOptions&)> change_options;        // likewise
};

// What happened: sums over a world (or many), so that a test can tell that the worlds are rich
// enough.
struct Happenings {
  int64_t steps = 0;
  int64_t stopped = 0, stopped_by_string = 0, full_length = 0;
  int64_t cancelled = 0, late = 0, never_fits = 0, queue_full = 0;
  int64_t failed = 0, out_of_memory = 0, device_lost = 0;
  int64_t images = 0, cached_images = 0, encoded_images = 0;
  int64_t moved_to_host = 0, moved_to_device = 0;
  int64_t launched_ahead = 0;  // steps
  int64_t mixed_steps = 0;     // of prompts and sequences
  int64_t surplus_tokens = 0;
  int64_t largest_batch = 0;

  void Add(const Happenings& other);
};

struct WorldReport {
  std::vector<std::string> violations;  // empty: all invariants held
  Happenings happenings;
};

WorldReport RunWorld(const World& world, const PlantedFault& fault = {});

}  // namespace llavamini
