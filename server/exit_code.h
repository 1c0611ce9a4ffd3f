// How the program ends: the numbers of sysexits.h.
#pragma once

#include "absl/status/status.h"

namespace llavamini {

inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 64;       // a flag or variable
inline constexpr int kExitCheckpoint = 65;  // a file of the checkpoint
inline constexpr int kExitDevice = 69;      // the device cannot be used, or has too little memory
inline constexpr int kExitInternal = 70;    // a failure of our own, or the device was lost
inline constexpr int kExitPort = 74;        // the port, or the port file

// The exit code of a failure to load.
inline int ExitCodeOfLoading(const absl::Status& status) {
  if (absl::IsFailedPrecondition(status) || absl::IsResourceExhausted(status)) return kExitDevice;
  if (absl::IsInternal(status) || absl::IsAborted(status) || absl::IsUnknown(status)) {
    return kExitInternal;
  }
  return kExitCheckpoint;
}

}  // namespace llavamini
