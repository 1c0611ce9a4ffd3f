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
  EXPECT_EQ(command->options.load_format, LoadFormat::kAuto);
  EXPECT_EQ(command->options.quantization, Quantization::kNone);
  EXPECT_FALSE(command->options.deterministic);
  EXPECT_EQ(command->options.gpu_memory_utilization, 0.9);
  EXPECT_EQ(command->options.gpu_memory_limit_gib, 0);
  EXPECT_EQ(command->options.kv_cache_tokens, 0);
}

TEST(Options, TakeSwitchesWithAndWithoutAValue) {
  const struct {
    std::vector<std::string> arguments;
    bool expected;
  } cases[] = {
      {{"--deterministic"}, true},
      {{"--deterministic", "--max-running", "5"}, true},
      {{"--deterministic=true"}, true},
      {{"--deterministic=false"}, false},
      {{"--deterministic", "--deterministic=false"}, false},
  };
  for (const auto& [arguments, expected] : cases) {
    std::vector<std::string> all = {"--model", "a"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const auto command = Parse(all);
    ASSERT_TRUE(command.ok()) << command.status();
    EXPECT_EQ(command->options.deterministic, expected);
  }
  EXPECT_TRUE(
      Parse({"--model", "a"}, {{"LLAVAMINI_DETERMINISTIC", "true"}})->options.deterministic);
}

TEST(Options, TakeWhatAGpuNeeds) {
  const auto command = Parse({"--model", "a", "--load-format", "dummy", "--quantization", "fp8",
                              "--gpu-memory-limit-gib", "20.5", "--gpu-memory-utilization=0.5",
                              "--max-images-per-batch", "4", "--max-step-rows", "512",
                              "--image-cache-host-mib", "0"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->options.load_format, LoadFormat::kDummy);
  EXPECT_EQ(command->options.quantization, Quantization::kFp8);
  EXPECT_EQ(command->options.gpu_memory_limit_gib, 20.5);
  EXPECT_EQ(command->options.gpu_memory_utilization, 0.5);
  EXPECT_EQ(command->options.max_images_per_batch, 4);
  EXPECT_EQ(command->options.max_step_rows, 512);
  EXPECT_EQ(command->options.image_cache_host_mib, 0);
}

TEST(Options, FindTheTuningCache) {
  const struct {
    std::vector<std::string> arguments;
    std::map<std::string, std::string> variables;
    std::string expected;
  } cases[] = {
      {{}, {}, ""},
      {{}, {{"HOME", "/home/a"}}, "/home/a/.cache/llavamini/tuning.json"},
      {{}, {{"HOME", "/home/a"}, {"XDG_CACHE_HOME", "/c"}}, "/c/llavamini/tuning.json"},
      {{}, {{"HOME", "/home/a"}, {"LLAVAMINI_TUNING_CACHE", "t.json"}}, "t.json"},
      {{"--tuning-cache", "f"}, {{"HOME", "/home/a"}}, "f"},
      {{"--tuning-cache="}, {{"HOME", "/home/a"}}, ""},
  };
  for (const auto& [arguments, variables, expected] : cases) {
    std::vector<std::string> all = {"--model", "a"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const auto command = Parse(all, variables);
    ASSERT_TRUE(command.ok()) << command.status();
    EXPECT_EQ(command->options.tuning_cache, expected);
  }
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
      {{"--model", "a", "--load-format", "gguf"}, "--load-format: must be auto, dummy"},
      {{"--model", "a", "--quantization", "int4"}, "--quantization: must be none, fp8"},
      {{"--model", "a", "--deterministic=maybe"}, "--deterministic: must be true, false"},
      {{"--model", "a", "--deterministic", "true"}, "without a flag"},
      {{"--model", "a", "--gpu-memory-utilization", "1"},
       "--gpu-memory-utilization: must be 0.1 to 0.98"},
      {{"--model", "a", "--gpu-memory-utilization", "nan"}, "--gpu-memory-utilization"},
      {{"--model", "a", "--gpu-memory-limit-gib", "-1"}, "--gpu-memory-limit-gib: must be 0 to"},
      {{"--model", "a", "--max-images-per-batch", "0"}, "--max-images-per-batch: must be 1 to"},
      {{"--model", "a", "--max-step-rows", "15"}, "--max-step-rows: must be 16 to"},
      {{"--model", "a", "--kv-cache-tokens", "-1"}, "--kv-cache-tokens: must be 0 to"},
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
  for (const char* flag :
       {"--model DIR", "--port-file FILE", "--kv-cache-tokens N", "default 127.0.0.1:50051",
        "1 to 4096", "--deterministic ", "0.1 to 0.98"}) {
    EXPECT_THAT(HelpText(), HasSubstr(flag));
  }
}

}  // namespace
}  // namespace llavamini
