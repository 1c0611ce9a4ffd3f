// `llavamini-bench` from arguments to exit code. Blocking; one thread.
#pragma once

#include <ostream>

#include "client/bench/arguments.h"
#include "client/exit_code.h"
#include "client/interrupts.h"

namespace llavamini::bench {

// Prepares, measures point after point, prints a row for each as it is done, and writes the JSON
// file. Ctrl-C ends the point in progress; what was measured is still printed and written.
client::ExitCode RunBench(const Arguments& arguments, std::ostream& out, std::ostream& error,
                          client::Interrupts* interrupts);

}  // namespace llavamini::bench
