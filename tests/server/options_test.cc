#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace llavamini {
namespace {

using testing::HasSubstr;

Environment Variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
}

absl::StatusOr<CommandLine> Parse(const std::vector<std::string>& arguments,
                                  std::map<std::string, std::string> variables = {}) {
  return ParseCommandLine(arguments, Variables(std::move(variables)));
}

TEST(Options, HaveDefaults) {
  const auto command = Parse({"--model", "demo"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->options.model, "demo");
  EXPECT_EQ(command->options.grpc_address, "127.0.0.1:50051");
  EXPECT_EQ(command->options.max_running, 64);
  EXPECT_EQ(command->options.shutdown_timeout, absl::Seconds(30));
  EXPECT_EQ(command->options.log_format, LogFormat::kText);
}

TEST(Options, TakeBothSpellingsAndTheLastOne) {
  const auto command = Parse({"--model=a", "--dtype", "bfloat16", "--max-running=3",
                              "--max-running", "5", "--shutdown-timeout", "2.5s"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->options.model, "a");
  EXPECT_EQ(command->options.dtype, DtypeChoice::kBfloat16);
  EXPECT_EQ(command->options.max_running, 5);
  EXPECT_EQ(command->options.shutdown_timeout, absl::Seconds(2.5));
}

TEST(Options, LetAFlagBeatItsVariable) {
  const auto command = Parse({"--max-running", "7"}, {{"LLAVAMINI_MODEL", "folder"},
                                                      {"LLAVAMINI_MAX_RUNNING", "9"},
                                                      {"LLAVAMINI_LOG_FORMAT", "json"},
                                                      {"LLAVAMINI_DEVICE", ""}});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->options.model, "folder");
  EXPECT_EQ(command->options.max_running, 7);
  EXPECT_EQ(command->options.log_format, LogFormat::kJson);
}

TEST(Options, NameWhatIsWrongInOneLine) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{}, "--model"},
      {{"--model", "a", "--nonsense", "1"}, "--nonsense"},
      {{"--model", "a", "extra"}, "without a flag"},
      {{"--model"}, "--model: needs a value"},
      {{"--model", "a", "--device", "tpu"}, "--device: must be auto, cpu, cuda"},
      {{"--model", "a", "--max-running", "0"}, "--max-running: must be 1 to 4096"},
      {{"--model", "a", "--max-running", "many"}, "--max-running"},
      {{"--model", "a", "--max-waiting=99999999999999999999"}, "--max-waiting"},
      {{"--model", "a", "--grpc-address", "50051"}, "--grpc-address"},
      {{"--model", "a", "--grpc-address", "host:70000"}, "--grpc-address"},
      {{"--model", "a", "--shutdown-timeout", "nan"}, "--shutdown-timeout"},
      {{"--model", "a", "--shutdown-timeout", "-1"}, "--shutdown-timeout"},
      {{"--model", "a", "--log-level", "loud"}, "--log-level"},
  };
  for (const auto& [arguments, expected] : cases) {
    const auto command = Parse(arguments);
    ASSERT_FALSE(command.ok()) << expected;
    const std::string message(command.status().message());
    EXPECT_THAT(message, HasSubstr(expected));
    EXPECT_THAT(message, testing::Not(HasSubstr("\n")));
  }
  const auto variable = Parse({"--model", "a"}, {{"LLAVAMINI_DTYPE", "int3"}});
  EXPECT_THAT(std::string(variable.status().message()), HasSubstr("LLAVAMINI_DTYPE: must be"));
}

TEST(Options, ShowHelpAndVersionWithoutAModel) {
  EXPECT_EQ(Parse({"--help"})->action, CommandLine::Action::kHelp);
  EXPECT_EQ(Parse({"--version"})->action, CommandLine::Action::kVersion);
  for (const char* flag : {"--model DIR", "--port-file FILE", "--kv-cache-tokens N",
                           "default 127.0.0.1:50051", "1 to 4096"}) {
    EXPECT_THAT(HelpText(), HasSubstr(flag));
  }
}

}  // namespace
}  // namespace llavamini
