// llavamini-server: serves a LLaVA-Mini checkpoint over gRPC. See serve.h for its life and
// options.h for its flags.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "server/exit_code.h"
#include "server/logging.h"
#include "server/options.h"
#include "server/serve.h"
#include "server/stop_request.h"
#include "server/version.h"

namespace {

std::optional<std::string> GetVariable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

int Run(const std::vector<std::string>& arguments) {
  const absl::StatusOr<llavamini::CommandLine> command =
      llavamini::ParseCommandLine(arguments, GetVariable);
  if (!command.ok()) {
    std::fprintf(stderr, "llavamini-server: %s\n", std::string(command.status().message()).c_str());
    return llavamini::kExitUsage;
  }
  if (command->action == llavamini::CommandLine::Action::kHelp) {
    std::fputs(llavamini::HelpText().c_str(), stdout);
    return llavamini::kExitOk;
  }
  if (command->action == llavamini::CommandLine::Action::kVersion) {
    std::printf("llavamini-server %s\n", llavamini::kVersion);
    return llavamini::kExitOk;
  }
  llavamini::StartLogging(command->options.log_level, command->options.log_format);
  const int exit_code = llavamini::Serve(command->options);
  llavamini::StopLogging();
  return exit_code;
}

// oneDNN and LibTorch keep what they made for each number of rows that a product ever had, by
// default 1024 of them: hundreds of megabytes. Before there are threads; whoever sets it keeps it.
void BoundKernelCaches() {
  for (const char* name : {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}) {
    setenv(name, "128", /*overwrite=*/0);
  }
}

// An exception that nothing can catch, such as one of a destructor on a GPU that is lost: an exit
// code, not a core dump.
[[noreturn]] void EndAtOnce() {
  std::fputs("llavamini-server: internal failure\n", stderr);
  std::_Exit(llavamini::kExitInternal);
}

}  // namespace

int main(int argc, char** argv) {
  std::set_terminate(EndAtOnce);
  BoundKernelCaches();
  llavamini::BlockStopSignals();
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return Run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception&) {
    std::fputs("llavamini-server: internal failure\n", stderr);
    return llavamini::kExitInternal;
  }
}
