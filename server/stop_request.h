// Why and when the server ends: a signal, or the loss of the device. Any thread raises it, main's
// waits for it.
#pragma once

#include <atomic>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace llavamini {

class StopRequest {
 public:
  // The first call counts.
  void Raise(int exit_code);
  // Blocks; the exit code to end with.
  int Wait();

 private:
  absl::Mutex mutex_;
  std::optional<int> exit_code_ ABSL_GUARDED_BY(mutex_);
};

// Keeps SIGTERM and SIGINT from this thread and all that are made after it. The first thing in
// main.
void BlockStopSignals();

// From any thread: the process ends with this code after `delay` at the latest, whatever its
// threads wait for then.
void ExitLatest(absl::Duration delay, int exit_code);

// Waits for the blocked signals on a thread of its own. The first one raises `stop` with 0, or ends
// the process at once while nothing is served yet; the second ends the process at once.
class SignalWatcher {
 public:
  // `stop` outlives the watcher.
  explicit SignalWatcher(StopRequest* stop);
  ~SignalWatcher();

  // From now on there is something to finish after the first signal.
  void StartServing() { serving_.store(true); }

 private:
  void Watch();

  StopRequest* const stop_;
  std::atomic<bool> serving_{false};
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace llavamini
