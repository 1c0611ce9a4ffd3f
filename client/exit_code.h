// What `llavamini` ends with; the numbers are those of sysexits.h.
#pragma once

namespace llavamini::client {

enum ExitCode : int {
  kExitOk = 0,
  kExitUsage = 64,        // the command line is wrong
  kExitRefused = 65,      // INVALID_ARGUMENT
  kExitNoInput = 66,      // a file cannot be read
  kExitUnavailable = 69,  // UNAVAILABLE
  kExitOther = 70,        // any other failure
  kExitTryAgain = 75,     // RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED
  kExitInterrupted = 130  // Ctrl-C
};

}  // namespace llavamini::client
