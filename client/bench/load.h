// Puts load on the server: hundreds of streams on a few threads, each with a completion queue,
// connections and storage of its own. Events take no lock; ends of requests take one, held briefly.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "client/bench/schedule.h"
#include "client/bench/stream.h"
#include "client/bench/workload.h"

namespace llavamini::bench {

// What one load measured.
struct LoadResult {
  std::vector<Sample> samples;          // one per request, in no order
  std::vector<float> gaps_ms;           // inter-token latencies of answered requests, in no order
  std::optional<grpc::Status> failure;  // of a failed request, unless Stop() ended it
  int most_in_flight = 0;
};

// Thread rule: one thread calls the Run functions, any thread Stop().
class LoadGenerator {
 public:
  // Each thread gets its share of the channels; there are at least as many channels as threads.
  // timeout: of each request. The workload outlives the generator.
  LoadGenerator(const std::vector<std::shared_ptr<grpc::Channel>>& channels, int threads,
                absl::Duration timeout, const Workload* workload);
  ~LoadGenerator();
  LoadGenerator(const LoadGenerator&) = delete;
  LoadGenerator& operator=(const LoadGenerator&) = delete;

  // Keeps `concurrency` requests in flight until the limit, then waits for the last. A stream that
  // finds the server overloaded rests as long as the server asks for; one that finds it not
  // available sends nothing more: it would do nothing but fail.
  LoadResult RunClosed(int concurrency, const Limit& limit, bool warmup);

  // Starts requests when they are due, whatever became of the earlier ones; with max_in_flight they
  // wait for a place, and their latency counts the waiting.
  LoadResult RunOpen(PoissonArrivals arrivals, const Limit& limit, int max_in_flight);

  // Ends all requests in flight with CANCELLED; nothing starts any more.
  void Stop();
  bool stopped() const { return stopped_; }

 private:
  // A thread and what only it touches while requests are in flight.
  struct Worker {
    grpc::CompletionQueue queue;
    std::vector<std::unique_ptr<v1::ChatService::Stub>> stubs;
    LoadResult result;
    std::thread thread;
  };

  void Begin(const Limit& limit, bool closed, bool warmup);
  LoadResult Collect();
  void TakeEvents(Worker& worker);
  void Record(const Stream& stream, LoadResult& result);
  void GoOn(Stream& stream, Stream::Event event);
  bool StartNext(Stream& stream);
  Stream* TakeStream(int max_in_flight);  // nullptr once stopped
  void Release(Stream& stream);
  Stream& AddStream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration timeout_;
  const Workload* const workload_;
  std::vector<std::unique_ptr<Worker>> workers_;

  // Of the load in progress; set while nothing is in flight.
  Limit limit_;
  bool closed_ = true;
  bool warmup_ = false;
  int64_t begin_ns_ = 0;
  uint64_t first_number_ = 0;  // of the load's first request, in the run
  std::atomic<uint64_t> started_ = 0;

  std::atomic<bool> stopped_ = false;
  absl::Notification stop_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Stream>> streams_ ABSL_GUARDED_BY(mutex_);
  // Lowest index first: a load of few streams is spread over threads and connections as one of
  // many.
  std::priority_queue<int, std::vector<int>, std::greater<>> idle_ ABSL_GUARDED_BY(mutex_);
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace llavamini::bench
