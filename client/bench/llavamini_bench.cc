// The load generator's main(): words and environment → measurements → exit code.
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/bench/arguments.h"
#include "client/bench/bench.h"
#include "client/output.h"

namespace llavamini::bench {
namespace {

int Main(const std::vector<std::string>& words) {
  client::Interrupts interrupts;
  const char* environment = std::getenv("LLAVAMINI_ADDRESS");
  const absl::StatusOr<Arguments> arguments =
      ParseArguments(words, environment != nullptr ? environment : "127.0.0.1:50051");
  if (!arguments.ok()) {
    std::cerr << "llavamini-bench: " << client::Printable(std::string(arguments.status().message()))
              << "\n  llavamini-bench --help shows the options" << std::endl;
    return client::kExitUsage;
  }
  client::ExitCode code = client::kExitOk;
  if (arguments->help) {
    std::cout << HelpText() << std::flush;
  } else {
    code = RunBench(*arguments, std::cout, std::cerr, &interrupts);
  }
  if (std::cout.fail()) {
    std::cerr << "llavamini-bench: standard output cannot be written" << std::endl;
    return code == client::kExitOk ? client::kExitOther : code;
  }
  return code;
}

}  // namespace
}  // namespace llavamini::bench

int main(int argc, char** argv) {
  return llavamini::bench::Main(std::vector<std::string>(argv + 1, argv + argc));
}
