#include "client/bench/bench.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>
#include <random>
#include <thread>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/bench/load.h"
#include "client/bench/prepare.h"
#include "client/bench/report.h"
#include "client/errors.h"
#include "client/media_file.h"
#include "client/output.h"

namespace llavamini::bench {
namespace {

using client::ExitCode;

constexpr std::chrono::seconds kConnectTimeout(10);
constexpr uint32_t kOpenLoopWarmupStreams = 8;
constexpr const char* kProgram = "llavamini-bench: ";

// Each with a connection of its own: by default gRPC would share one.
std::vector<std::shared_ptr<grpc::Channel>> OpenChannels(const std::string& address,
                                                         uint32_t count) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (uint32_t i = 0; i < count; ++i) {
    grpc::ChannelArguments options;
    options.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    options.SetMaxSendMessageSize(-1);  // the server's limit decides
    channels.push_back(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), options));
  }
  return channels;
}

uint32_t ThreadCount(const Arguments& arguments) {
  return arguments.threads.value_or(std::clamp(std::thread::hardware_concurrency() / 8, 1u, 4u));
}

// Tells this run's pictures from those of any other.
uint64_t RunNumber() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

class Bench {
 public:
  Bench(const Arguments& arguments, std::ostream& out, std::ostream& error)
      : arguments_(arguments), out_(out), error_(error) {}

  ExitCode Run(client::Interrupts* interrupts) {
    std::string video;
    if (arguments_.request.media == MediaKind::kVideo) {
      absl::StatusOr<std::string> file = client::ReadMediaFile(arguments_.request.video);
      if (!file.ok()) {
        error_ << kProgram << client::Printable(std::string(file.status().message())) << std::endl;
        return client::kExitNoInput;
      }
      video = *std::move(file);
    }
    facts_.threads = ThreadCount(arguments_);
    facts_.start_time = absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone());
    Workload workload(arguments_.request, RunNumber(), arguments_.seed, video);
    const auto channels =
        OpenChannels(arguments_.address, std::max(arguments_.channels, facts_.threads));
    if (const ExitCode code = Connect(channels, &workload); code != client::kExitOk) return code;
    if (!JsonIsWritable()) return client::kExitOther;
    PrintFacts();
    LoadGenerator generator(channels, static_cast<int>(facts_.threads), arguments_.timeout,
                            &workload);
    const client::Interrupts::Scope scope(interrupts, [&generator] { generator.Stop(); });
    ExitCode code = Sweep(workload, generator);
    if (generator.stopped()) code = client::kExitInterrupted;
    return WriteJson() ? code : client::kExitOther;
  }

 private:
  ExitCode Connect(const std::vector<std::shared_ptr<grpc::Channel>>& channels,
                   Workload* workload) {
    const grpc::Status status = Prepare(channels.front(), arguments_, workload, &facts_);
    if (status.error_code() == grpc::StatusCode::OUT_OF_RANGE) {
      error_ << kProgram << "--prompt-tokens: " << client::Printable(status.error_message())
             << std::endl;
      return client::kExitUsage;
    }
    if (!status.ok()) {
      error_ << kProgram << client::ErrorText(status, arguments_.address) << std::endl;
      return client::ExitCodeOf(status);
    }
    const auto deadline = std::chrono::system_clock::now() + kConnectTimeout;
    for (const auto& channel : channels) {
      if (channel->WaitForConnected(deadline)) continue;
      error_ << kProgram << "not every connection to " << arguments_.address << " was made"
             << std::endl;
      return client::kExitUnavailable;
    }
    return client::kExitOk;
  }

  void PrintFacts() {
    out_ << client::Printable(absl::StrFormat(
                "%s, %s, on %s; %d prompt tokens (%d of them vision tokens, %d pictures), %d "
                "tokens out",
                facts_.model.name(), facts_.model.dtype(), facts_.server.device(),
                facts_.request.prompt_tokens(), facts_.request.vision_tokens(),
                facts_.request.images(), arguments_.request.max_tokens))
         << "\n"
         << TableHead(!arguments_.rates.empty()) << std::endl;
  }

  ExitCode Sweep(const Workload& workload, LoadGenerator& generator) {
    const bool open_loop = !arguments_.rates.empty();
    const size_t count = open_loop ? arguments_.rates.size() : arguments_.concurrency.size();
    for (size_t i = 0; i < count && !generator.stopped(); ++i) {
      const double load = open_loop ? arguments_.rates[i] : arguments_.concurrency[i];
      const uint64_t warmup = workload.WarmupRequests(arguments_.warmup);
      const LoadResult warm = generator.RunClosed(
          static_cast<int>(open_loop ? kOpenLoopWarmupStreams : arguments_.concurrency[i]),
          {.requests = warmup}, /*warmup=*/true);
      if (generator.stopped()) break;
      const LoadResult result = RunLoad(open_loop, load, generator);
      points_.push_back(Measure(open_loop, load, result, generator.stopped()));
      out_ << TableRow(points_.back()) << std::endl;
      PrintFailures(points_.back(), result);
      if (points_.back().answered == 0 && result.failure) {
        return client::ExitCodeOf(*result.failure);
      }
    }
    return client::kExitOk;
  }

  LoadResult RunLoad(bool open_loop, double load, LoadGenerator& generator) {
    Limit limit;
    if (arguments_.requests) limit.requests = *arguments_.requests;
    if (arguments_.duration) limit.duration_ns = absl::ToInt64Nanoseconds(*arguments_.duration);
    if (!open_loop) return generator.RunClosed(static_cast<int>(load), limit, /*warmup=*/false);
    const int max_in_flight = arguments_.max_in_flight ? static_cast<int>(*arguments_.max_in_flight)
                                                       : std::numeric_limits<int>::max();
    return generator.RunOpen(PoissonArrivals(load, arguments_.seed), limit, max_in_flight);
  }

  void PrintFailures(const Point& point, const LoadResult& result) {
    if (!result.failure || point.failed == 0) return;
    error_ << kProgram << point.failed << " of " << point.started << " requests failed, one with: "
           << client::ErrorText(*result.failure, arguments_.address) << std::endl;
  }

  // Before the load, so that no measurement is lost to a mistyped path.
  bool JsonIsWritable() {
    if (arguments_.json.empty()) return true;
    return CheckJson(std::ofstream(arguments_.json, std::ios::app));
  }

  bool WriteJson() {
    if (arguments_.json.empty()) return true;
    std::ofstream file(arguments_.json);
    file << ToJson(arguments_, facts_, points_).dump(2) << std::endl;
    return CheckJson(file);
  }

  bool CheckJson(const std::ofstream& file) {
    if (file) return true;
    error_ << kProgram << client::Printable(arguments_.json) << " cannot be written" << std::endl;
    return false;
  }

  const Arguments& arguments_;
  std::ostream& out_;
  std::ostream& error_;
  RunFacts facts_;
  std::vector<Point> points_;
};

}  // namespace

ExitCode RunBench(const Arguments& arguments, std::ostream& out, std::ostream& error,
                  client::Interrupts* interrupts) {
  return Bench(arguments, out, error).Run(interrupts);
}

}  // namespace llavamini::bench
