#include "server/serve.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/exit_code.h"
#include "server/load.h"
#include "server/logging.h"
#include "server/prepare/errors.h"
#include "server/rpc/rpc_server.h"
#include "server/stop_request.h"
#include "server/version.h"

namespace llavamini {
namespace {

// For the last statuses to reach their readers once every answer has ended.
constexpr absl::Duration kLastWrites = absl::Seconds(2);
// For whoever watches health to see that it is over.
constexpr absl::Duration kLastHealth = absl::Milliseconds(500);
// From the loss of the device to the end of the process, whatever hangs.
constexpr absl::Duration kLongestEnd = absl::Seconds(4);

std::string Message(const absl::Status& status) { return std::string(status.message()); }

int Fail(int exit_code, const std::string& message) {
  spdlog::critical("{}", message);
  return exit_code;
}

// Whoever sees the file sees the whole number.
absl::Status WritePortFile(const std::string& file, int port) {
  if (file.empty()) return absl::OkStatus();
  const std::string unfinished = absl::StrCat(file, ".", getpid());
  std::ofstream out(unfinished);
  out << port << "\n";
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(unfinished, file, error);
  if (out && !error) return absl::OkStatus();
  return absl::UnavailableError("--port-file: the file cannot be written");
}

// For when the device is lost and every answer has ended. Calls to the dead device, the destructors
// of its memory among them, may hang or throw: none of them is made.
[[noreturn]] void EndWithoutDevice(RpcShared& shared, RpcServer& rpc, ChatStack& stack) {
  rpc.StopServing();
  stack.backend().StartDraining();
  shared.calls.WaitNone(absl::Now() + kLastWrites);
  rpc.Shutdown(absl::Now() + kLastHealth);
  StopLogging();
  std::_Exit(kExitInternal);
}

void Drain(RpcShared& shared, RpcServer& rpc, ChatStack& stack, absl::Duration timeout) {
  spdlog::info("draining: {} running, {} waiting", stack.engine().stats().running,
               stack.engine().stats().waiting);
  rpc.StopServing();
  stack.backend().StartDraining();
  if (!shared.calls.WaitNone(absl::Now() + timeout)) {
    spdlog::warn("draining took longer than --shutdown-timeout: ending the answers that still run");
  }
  stack.engine().Stop(Draining());
  shared.calls.WaitNone(absl::Now() + kLastWrites);
  rpc.Shutdown(absl::Now() + kLastWrites);
}

int ServeLoaded(const ServerOptions& options, const CheckpointFacts& facts, Model* model,
                RpcShared& shared, RpcServer& rpc, SignalWatcher& signals, StopRequest& stop) {
  ChatStackOptions stack_options = MakeStackOptions(options, facts, model->facts());
  stack_options.engine.on_device_lost = [&stop] {
    spdlog::critical("the device is lost");
    ExitLatest(kLongestEnd, kExitInternal);
    stop.Raise(kExitInternal);
  };
  auto stack = ChatStack::Create(stack_options, model, facts.tokenizer.get());
  if (!stack.ok()) return Fail(kExitCheckpoint, Message(stack.status()));
  const absl::Status warm = WarmUp((*stack)->engine(), *facts.tokenizer, stack_options.model);
  if (!warm.ok()) {
    Fail(kExitDevice, absl::StrCat("warm-up: ", warm.message()));
    if (!absl::IsResourceExhausted(warm)) EndWithoutDevice(shared, rpc, **stack);
    return kExitDevice;
  }
  spdlog::info("{}", DescribeMemory(model->facts(), stack_options));

  const Serving serving = {&(*stack)->backend(), facts.tokenizer.get(), model->facts(),
                           stack_options.engine.max_waiting};
  signals.StartServing();
  rpc.StartServing(&serving);
  spdlog::info("serving {} on {} ({}), contexts of {} tokens", stack_options.model.name,
               model->facts().device, model->facts().dtype, facts.max_context_tokens);
  const int exit_code = stop.Wait();
  if (exit_code != kExitOk) EndWithoutDevice(shared, rpc, **stack);
  Drain(shared, rpc, **stack, options.shutdown_timeout);
  return exit_code;
}

}  // namespace

int Serve(const ServerOptions& options) {
  StopRequest stop;
  SignalWatcher signals(&stop);
  RpcShared shared;
  shared.version = kVersion;
  shared.start_time = absl::Now();
  shared.log_format = options.log_format;
  auto rpc = RpcServer::Open(options.grpc_address, &shared);
  if (!rpc.ok()) return Fail(kExitPort, Message(rpc.status()));
  if (absl::Status status = WritePortFile(options.port_file, (*rpc)->port()); !status.ok()) {
    return Fail(kExitPort, Message(status));
  }
  spdlog::info("port {} is open; loading", (*rpc)->port());

  const absl::StatusOr<CheckpointFacts> facts = LoadFacts(options);
  if (!facts.ok()) {
    const bool usage = absl::IsOutOfRange(facts.status());
    return Fail(usage ? kExitUsage : kExitCheckpoint, Message(facts.status()));
  }
  const absl::StatusOr<std::unique_ptr<Model>> model = LoadModel(options, *facts);
  if (!model.ok()) return Fail(ExitCodeOfLoading(model.status()), Message(model.status()));
  return ServeLoaded(options, *facts, model->get(), shared, **rpc, signals, stop);
}

}  // namespace llavamini
