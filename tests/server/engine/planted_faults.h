// Faulty parts for the engine, each with one bug that somebody might really write. They show that
// the simulator would notice it.
#pragma once

#include <string>
#include <vector>

#include "tests/server/engine/simulator.h"

namespace llavamini {

struct NamedFault {
  std::string name;
  std::string symptom;  // what the simulator says about it in at least one of the first worlds
  PlantedFault fault;
};

std::vector<NamedFault> SchedulerFaults();
std::vector<NamedFault>
ModelFaults();  // in how the engine calls the model, by changing the calls underway
std::vector<NamedFault> RequestFaults();  // in how the engine reads a request or answers it

}  // namespace llavamini
