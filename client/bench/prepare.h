// What happens once, before any load: is the server there, what does it serve, does it take such
// requests, and which question has the wanted number of tokens.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <memory>

#include "client/bench/arguments.h"
#include "client/bench/report.h"
#include "client/bench/workload.h"

namespace llavamini::bench {

// Fills the server's part of *facts and sets the workload's question. Blocking. Errors are the
// server's, and OUT_OF_RANGE where --prompt-tokens cannot be met.
grpc::Status Prepare(const std::shared_ptr<grpc::Channel>& channel, const Arguments& arguments,
                     Workload* workload, RunFacts* facts);

}  // namespace llavamini::bench
