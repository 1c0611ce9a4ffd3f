#include "client/bench/load.h"

#include <algorithm>
#include <limits>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace llavamini::bench {
namespace {

// Room that is made before a load, per thread: growing copies what was measured. Not touched, it
// costs no memory.
constexpr size_t kReservedSamples = size_t{1} << 18;
constexpr size_t kReservedGaps = size_t{1} << 23;

constexpr absl::Duration kDefaultRetryDelay = absl::Milliseconds(100);
constexpr absl::Duration kMostRetryDelay = absl::Seconds(10);

// What an overloaded server asks for.
absl::Duration RetryDelay(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return kDefaultRetryDelay;
  google::rpc::RetryInfo retry;
  for (const google::protobuf::Any& any : details.details()) {
    if (!any.UnpackTo(&retry)) continue;
    const absl::Duration delay = absl::Seconds(retry.retry_delay().seconds()) +
                                 absl::Nanoseconds(retry.retry_delay().nanos());
    return std::clamp(delay, absl::Milliseconds(1), kMostRetryDelay);
  }
  return kDefaultRetryDelay;
}

}  // namespace

LoadGenerator::LoadGenerator(const std::vector<std::shared_ptr<grpc::Channel>>& channels,
                             int threads, absl::Duration timeout, const Workload* workload)
    : timeout_(timeout), workload_(workload) {
  for (int i = 0; i < threads; ++i) workers_.push_back(std::make_unique<Worker>());
  for (size_t i = 0; i < channels.size(); ++i) {
    workers_[i % workers_.size()]->stubs.push_back(v1::ChatService::NewStub(channels[i]));
  }
  for (const auto& worker : workers_) {
    worker->thread = std::thread([this, &worker = *worker] { TakeEvents(worker); });
  }
}

LoadGenerator::~LoadGenerator() {
  for (const auto& worker : workers_) {
    worker->queue.Shutdown();
    worker->thread.join();
  }
}

LoadResult LoadGenerator::RunClosed(int concurrency, const Limit& limit, bool warmup) {
  Begin(limit, /*closed=*/true, warmup);
  for (int i = 0; i < concurrency; ++i) {
    Stream* stream = TakeStream(std::numeric_limits<int>::max());
    if (stream == nullptr) break;
    if (StartNext(*stream)) continue;
    Release(*stream);
    break;
  }
  return Collect();
}

LoadResult LoadGenerator::RunOpen(PoissonArrivals arrivals, const Limit& limit, int max_in_flight) {
  Begin(limit, /*closed=*/false, /*warmup=*/false);
  while (started_ < limit.requests) {
    const int64_t arrival_ns = arrivals.Next();
    if (arrival_ns > limit.duration_ns) break;
    const int64_t due_ns = begin_ns_ + arrival_ns;
    const int64_t wait_ns = due_ns - Now();
    if (wait_ns > 0 && stop_.WaitForNotificationWithTimeout(absl::Nanoseconds(wait_ns))) break;
    Stream* stream = TakeStream(max_in_flight);
    if (stream == nullptr) break;
    if (stream->Start({.number = first_number_ + started_++}, due_ns, timeout_, stopped_)) continue;
    Release(*stream);
    break;
  }
  return Collect();
}

void LoadGenerator::Stop() {
  stopped_ = true;
  absl::MutexLock lock(&mutex_);
  if (!stop_.HasBeenNotified()) stop_.Notify();
  for (const auto& stream : streams_) stream->Cancel();
}

void LoadGenerator::Begin(const Limit& limit, bool closed, bool warmup) {
  for (const auto& worker : workers_) {
    worker->result = {};
    worker->result.samples.reserve(kReservedSamples);
    worker->result.gaps_ms.reserve(kReservedGaps);
  }
  {
    absl::MutexLock lock(&mutex_);
    most_in_flight_ = 0;
  }
  limit_ = limit;
  closed_ = closed;
  warmup_ = warmup;
  started_ = 0;
  begin_ns_ = Now();
}

LoadResult LoadGenerator::Collect() {
  LoadResult whole;
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* in_flight) { return *in_flight == 0; }, &in_flight_));
    whole.most_in_flight = most_in_flight_;
  }
  for (const auto& worker : workers_) {
    const LoadResult& part = worker->result;
    whole.samples.insert(whole.samples.end(), part.samples.begin(), part.samples.end());
    whole.gaps_ms.insert(whole.gaps_ms.end(), part.gaps_ms.begin(), part.gaps_ms.end());
    if (part.failure) whole.failure = part.failure;
  }
  first_number_ += started_;
  return whole;
}

void LoadGenerator::TakeEvents(Worker& worker) {
  void* tag = nullptr;
  bool ok = false;
  while (worker.queue.Next(&tag, &ok)) {
    Stream& stream = *static_cast<Stream*>(tag);
    const Stream::Event event = stream.Proceed(ok);
    if (event == Stream::Event::kCallEnded) Record(stream, worker.result);
    if (event != Stream::Event::kGoesOn) GoOn(stream, event);
  }
}

void LoadGenerator::GoOn(Stream& stream, Stream::Event event) {
  const bool call_ended = event == Stream::Event::kCallEnded;
  const grpc::StatusCode code = stream.sample().code;
  if (closed_ && call_ended && code == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    if (stream.Rest(RetryDelay(stream.status()), stopped_)) return;
  }
  const bool gone = call_ended && code == grpc::StatusCode::UNAVAILABLE;
  if (!closed_ || gone || !StartNext(stream)) Release(stream);
}

void LoadGenerator::Record(const Stream& stream, LoadResult& result) {
  result.samples.push_back(stream.sample());
  if (stream.status().ok()) {
    result.gaps_ms.insert(result.gaps_ms.end(), stream.gaps_ms().begin(), stream.gaps_ms().end());
  } else if (!result.failure && !stopped_) {
    result.failure = stream.status();
  }
}

bool LoadGenerator::StartNext(Stream& stream) {
  if (Now() - begin_ns_ >= limit_.duration_ns) return false;
  const uint64_t place = started_++;
  if (place >= limit_.requests) return false;
  const Turn turn{.number = first_number_ + place,
                  .warmup = warmup_ ? static_cast<int64_t>(place) : -1};
  return stream.Start(turn, /*due_ns=*/0, timeout_, stopped_);
}

Stream* LoadGenerator::TakeStream(int max_in_flight) {
  struct Place {
    const LoadGenerator* generator;
    int max_in_flight;
  } const place{this, max_in_flight};
  const auto free = +[](const Place* wanted) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return wanted->generator->in_flight_ < wanted->max_in_flight || wanted->generator->stopped_;
  };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(free, &place));
  if (stopped_) return nullptr;
  most_in_flight_ = std::max(most_in_flight_, ++in_flight_);
  if (idle_.empty()) return &AddStream();
  Stream* stream = streams_[static_cast<size_t>(idle_.top())].get();
  idle_.pop();
  return stream;
}

void LoadGenerator::Release(Stream& stream) {
  absl::MutexLock lock(&mutex_);
  idle_.push(stream.index());
  --in_flight_;
}

Stream& LoadGenerator::AddStream() {
  const auto index = streams_.size();
  Worker& worker = *workers_[index % workers_.size()];
  auto& stub = worker.stubs[index / workers_.size() % worker.stubs.size()];
  streams_.push_back(
      std::make_unique<Stream>(static_cast<int>(index), stub.get(), &worker.queue, workload_));
  return *streams_.back();
}

}  // namespace llavamini::bench
