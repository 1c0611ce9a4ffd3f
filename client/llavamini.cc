// The command line's main(): words and environment → one command → exit code.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/arguments.h"
#include "client/commands.h"
#include "client/media_file.h"
#include "client/output.h"

namespace llavamini::client {
namespace {

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address) {
  grpc::ChannelArguments options;
  options.SetMaxReceiveMessageSize(static_cast<int>(kMaxFileBytes));
  options.SetMaxSendMessageSize(-1);  // the server's limit decides
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), options);
}

ExitCode RunCommand(const Session& session) {
  switch (session.arguments.command) {
    case Command::kHelp:
      session.console.out << HelpText() << std::flush;
      return kExitOk;
    case Command::kChat:
      return RunChat(session);
    case Command::kCount:
      return RunCount(session);
    case Command::kModels:
      return RunModels(session);
    case Command::kInfo:
      return RunInfo(session);
    case Command::kHealth:
      return RunHealth(session);
  }
  return kExitOther;
}

int Main(const std::vector<std::string>& words) {
  Interrupts interrupts;
  const char* environment = std::getenv("LLAVAMINI_ADDRESS");
  const absl::StatusOr<Arguments> arguments =
      ParseArguments(words, environment != nullptr ? environment : "127.0.0.1:50051");
  if (!arguments.ok()) {
    std::cerr << "llavamini: " << Printable(std::string(arguments.status().message()))
              << "\n  llavamini --help shows commands and options" << std::endl;
    return kExitUsage;
  }
  const Console console = {.in = std::cin,
                           .out = std::cout,
                           .error = std::cerr,
                           .in_is_terminal = isatty(STDIN_FILENO) != 0,
                           .out_is_terminal = isatty(STDOUT_FILENO) != 0};
  const ExitCode code = RunCommand({.arguments = *arguments,
                                    .console = console,
                                    .channel = OpenChannel(arguments->address),
                                    .interrupts = &interrupts});
  if (std::cout.fail()) {
    std::cerr << "llavamini: standard output cannot be written" << std::endl;
    return code == kExitOk ? kExitOther : code;
  }
  return code;
}

}  // namespace
}  // namespace llavamini::client

int main(int argc, char** argv) {
  return llavamini::client::Main(std::vector<std::string>(argv + 1, argv + argc));
}
