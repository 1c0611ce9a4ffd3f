// What flags and checkpoint become: the model's options, the engine's limits, the start-up line.
#include "server/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llavamini {
namespace {

using testing::HasSubstr;
using testing::Not;

ServerOptions Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {"--model", LLAVAMINI_SOURCE_DIR "/tests/performance/llava-mini-8b/"});
  const auto command = ParseCommandLine(
      arguments, [](const std::string&) -> std::optional<std::string> { return std::nullopt; });
  EXPECT_TRUE(command.ok()) << command.status();
  return command->options;
}

CheckpointFacts Facts(const ServerOptions& options) {
  absl::StatusOr<CheckpointFacts> facts = LoadFacts(options);
  EXPECT_TRUE(facts.ok()) << facts.status();
  return *std::move(facts);
}

ModelFacts OnGpu() {
  ModelFacts model;
  model.device = "NVIDIA H200";
  model.dtype = "bfloat16";
  model.parameters = 9;
  model.memory.weights = int64_t{17} << 30;
  model.memory.image_cache = 300 << 20;
  model.memory.available = int64_t{24} << 30;
  return model;
}

TEST(Load, ReadsThePublishedConfigurationBesideASmallTokenizer) {
  const CheckpointFacts facts = Facts(Parse({}));
  EXPECT_EQ(facts.config.vocab_size, 128256);
  EXPECT_EQ(facts.max_context_tokens, 4096);
  EXPECT_EQ(facts.end_tokens, (std::vector<TokenId>{128001, 128008, 128009}));
}

TEST(Load, PassesTheFlagsOnToTheModel) {
  const ServerOptions options = Parse({"--load-format",
                                       "dummy",
                                       "--quantization",
                                       "fp8",
                                       "--deterministic",
                                       "--gpu-memory-limit-gib",
                                       "20.5",
                                       "--gpu-memory-utilization",
                                       "0.5",
                                       "--max-running",
                                       "7",
                                       "--max-images-per-batch",
                                       "4",
                                       "--max-step-rows",
                                       "512",
                                       "--image-cache-mib",
                                       "3",
                                       "--image-cache-host-mib",
                                       "5",
                                       "--max-context-tokens",
                                       "10304",
                                       "--tuning-cache",
                                       "t.json"});
  const LoadOptions load = MakeLoadOptions(options, Facts(options));
  EXPECT_TRUE(load.dummy_weights);
  EXPECT_EQ(load.quantization, Quantization::kFp8);
  EXPECT_TRUE(load.deterministic);
  EXPECT_EQ(load.device_memory_limit_bytes, int64_t{41} << 29);
  EXPECT_EQ(load.gpu_memory_utilization, 0.5);
  EXPECT_EQ(load.max_running, 7);
  EXPECT_EQ(load.max_images_per_batch, 4);
  EXPECT_EQ(load.max_step_rows, 512);
  EXPECT_EQ(load.image_cache_bytes, 3 << 20);
  EXPECT_EQ(load.image_cache_host_bytes, 5 << 20);
  EXPECT_EQ(load.max_context_tokens, 10304);
  EXPECT_EQ(load.tuning_cache, "t.json");
  EXPECT_EQ(load.kv_pages, 0);
}

TEST(Load, MakesRoomForAtLeastOneContext) {
  const std::pair<std::string, int32_t> cases[] = {{"0", 0}, {"16", 256}, {"4097", 257}};
  for (const auto& [tokens, pages] : cases) {
    const ServerOptions options = Parse({"--kv-cache-tokens", tokens});
    EXPECT_EQ(MakeLoadOptions(options, Facts(options)).kv_pages, pages);
  }
}

TEST(Load, KeepsTheEngineWithinTheMemoryPlan) {
  const ServerOptions options = Parse({"--max-images-per-batch", "4", "--max-step-rows", "512",
                                       "--image-cache-mib", "512", "--image-cache-host-mib", "5"});
  const ChatStackOptions stack = MakeStackOptions(options, Facts(options), OnGpu());
  EXPECT_EQ(stack.image_cache_bytes, 300u << 20);
  EXPECT_EQ(stack.image_cache_host_bytes, 5u << 20);
  EXPECT_EQ(stack.engine.max_images_per_batch, 4);
  EXPECT_EQ(stack.engine.max_images_ahead, 8);
  EXPECT_EQ(stack.engine.max_step_rows, 512);
  EXPECT_EQ(stack.engine.max_rows_ahead, 2048);
  ModelFacts on_cpu = OnGpu();
  on_cpu.device = "cpu";
  EXPECT_EQ(MakeStackOptions(options, Facts(options), on_cpu).image_cache_host_bytes, 0u);
}

TEST(Load, DescribesTheMemoryInOneLine) {
  const ServerOptions options = Parse({});
  const std::string line =
      DescribeMemory(OnGpu(), MakeStackOptions(options, Facts(options), OnGpu()));
  EXPECT_THAT(line, HasSubstr("memory: weights 17.0 GiB"));
  EXPECT_THAT(line, HasSubstr("image cache up to 300 MiB"));
  EXPECT_THAT(line, HasSubstr("of 24.0 GiB"));
  EXPECT_THAT(line, HasSubstr("images up to 4096 MiB"));
  EXPECT_THAT(line, Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace llavamini
