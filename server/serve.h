// The server's life: port → load → warm up → serve → drain. Called once, by main's thread.
#pragma once

#include "server/options.h"

namespace llavamini {

// Returns the process's exit code (exit_code.h); what went wrong is in the log, in one line.
int Serve(const ServerOptions& options);

}  // namespace llavamini
