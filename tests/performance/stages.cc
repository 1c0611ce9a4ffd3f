// llavamini-stages: how long the parts of the model take on a GPU, without gRPC: CLIP, the visual
// part of pre-fusion, its text part, prefill, time to the first token, decode steps by batch, video
// frames; and which kernels a decode step and a vision batch run. Weights are made up.
//   llavamini-stages --model DIR [--json FILE] [--tuning-cache FILE] [--places N] [--fp8]
//                    [--deterministic] [--profile] [--no-parts]
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/checkpoint.h"
#include "model/clip.h"
#include "model/device_stream.h"
#include "model/fusion.h"
#include "model/llama.h"
#include "model/llava_mini.h"
#include "tests/performance/checked.h"
#include "tests/performance/kernel_profile.h"
#include "tests/performance/model_driver.h"

namespace llavamini {
namespace {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

nlohmann::json KernelTable(const std::vector<KernelTime>& kernels, int runs) {
  auto rows = nlohmann::json::array();
  for (const KernelTime& kernel : kernels) {
    rows.push_back({{"kernel", kernel.name},
                    {"calls", static_cast<double>(kernel.calls) / runs},
                    {"milliseconds", kernel.milliseconds / runs}});
  }
  return rows;
}

// Made-up weights on the GPU, and a stream that the thread's work goes to.
struct Bench {
  explicit Bench(at::ScalarType type) : dtype(type) { checkpoint->SetTarget(device, dtype); }

  const c10::InferenceMode inference;
  const at::Device device{at::kCUDA, 0};
  const at::ScalarType dtype;
  const std::unique_ptr<Checkpoint> checkpoint = Checkpoint::Dummy();
  const DeviceStream stream{device};
  const DeviceStream::Use use{stream};
};

// CLIP, the visual part and the text part alone, as graphs.
nlohmann::json TimeParts(const ModelConfig& config, const Bench& bench,
                         std::deque<Captured>& captured) {
  const at::Device device = bench.device;
  const DeviceStream& stream = bench.stream;
  const ops::RopeTable rope = MakeRope(config, 4096, device);
  const ClipTower clip(*bench.checkpoint, config);
  const Fusion fusion(*bench.checkpoint, config, rope);
  const auto options = at::TensorOptions(device).dtype(bench.dtype);
  const int64_t side = config.vision.image_size;
  nlohmann::json parts;
  for (const int64_t images : {1, 8, 32}) {
    const at::Tensor pixels =
        at::randint(0, 255, {images, side, side, 3}, options.dtype(at::kByte));
    const std::vector<int64_t> rows(images, clip.rows());
    const ops::Segments pictures = ops::MakeSegments(rows, rows, device);
    const Fusion::VisualShape shape = fusion.ShapeOf(images, 1, device);
    at::Tensor features =
        at::randn({images, 1, config.vision.patches(), config.vision.hidden_size}, options);
    at::Tensor kept = at::zeros(
        {images, fusion.layers(), 2, shape.rows, config.num_key_value_heads * config.head_dim},
        options);
    const Captured& run_clip = captured.emplace_back(stream, [&] {
      at::Tensor x = clip.Embed(pixels);
      clip.RunBlocks(x, 0, clip.block_count(), pictures);
      return x;
    });
    const Captured& run_visual = captured.emplace_back(stream, [&] {
      at::Tensor x = fusion.VisualInput(features);
      for (int64_t layer = 0; layer < fusion.layers(); ++layer) {
        x = fusion.RunVisualBlock(layer, x, shape, kept);
      }
      return x;
    });
    const std::string suffix = absl::StrCat("_", images, "_ms");
    parts["clip" + suffix] = stream.Time([&] { run_clip.Run(); }, 20);
    parts["visual" + suffix] = stream.Time([&] { run_visual.Run(); }, 20);
    VisualRows image;
    image.rows = at::randn(
        {fusion.layers(), 2, shape.rows, config.num_key_value_heads * config.head_dim}, options);
    const at::Tensor text = at::randn({images * kTextTokens, config.hidden_size}, options);
    const std::vector<TextRun> runs(images, TextRun{&image, kTextTokens});
    const Fusion::TextShape text_shape = fusion.ShapeOf(runs, device);
    const Captured& run_text =
        captured.emplace_back(stream, [&] { return fusion.FuseText(text, text_shape); });
    parts["text" + suffix] = stream.Time([&] { run_text.Run(); }, 20);
  }
  return parts;
}

// What stands between the attentions of two blocks, by rows, per block.
nlohmann::json TimeBlocks(const ModelConfig& config, const Bench& bench,
                          std::deque<Captured>& captured) {
  constexpr int64_t kBlocks = 4;  // more weights than a cache holds
  const at::Device device = bench.device;
  const DeviceStream& stream = bench.stream;
  const std::vector<LlamaLayer> layers =
      LoadLayers(*bench.checkpoint, "model.layers", kBlocks + 1, config, /*fp8=*/false);
  const auto options = at::TensorOptions(device).dtype(bench.dtype);
  nlohmann::json blocks;
  for (const int64_t rows : {1, 8, 16, 32, 48, 64, 128, 256}) {
    const at::Tensor x = at::randn({rows, config.hidden_size}, options);
    const at::Tensor attended =
        at::randn({rows, config.num_attention_heads * config.head_dim}, options);
    const Captured& run = captured.emplace_back(stream, [&] {
      for (int64_t i = 0; i < kBlocks; ++i) {
        layers[i].FinishAndProject(x, attended, layers[i + 1].attention_norm, layers[i + 1].qkv);
      }
      return at::Tensor();
    });
    blocks[absl::StrCat("block_", rows, "_ms")] = stream.Time([&] { run.Run(); }, 20) / kBlocks;
  }
  return blocks;
}

struct StageOptions {
  LoadOptions load;
  std::string json_file;
  bool profile = false, parts = true;
  int places = 512;
};

// Nothing, where an argument is not known: it is named on standard error.
std::optional<StageOptions> ReadArguments(const std::vector<std::string>& arguments) {
  StageOptions options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool has_value = i + 1 < arguments.size();
    if (arguments[i] == "--model" && has_value) {
      options.load.folder = arguments[++i];
    } else if (arguments[i] == "--json" && has_value) {
      options.json_file = arguments[++i];
    } else if (arguments[i] == "--tuning-cache" && has_value) {
      options.load.tuning_cache = arguments[++i];
    } else if (arguments[i] == "--places" && has_value) {
      options.places = std::stoi(arguments[++i]);
    } else if (arguments[i] == "--fp8") {
      options.load.quantization = Quantization::kFp8;
    } else if (arguments[i] == "--deterministic") {
      options.load.deterministic = true;
    } else if (arguments[i] == "--profile") {
      options.profile = true;
    } else if (arguments[i] == "--no-parts") {
      options.parts = false;
    } else {
      std::fprintf(stderr, "llavamini-stages: unknown argument %s\n", arguments[i].c_str());
      return std::nullopt;
    }
  }
  options.load.device = DeviceKind::kCuda;
  options.load.dummy_weights = true;
  options.load.max_running = options.places;
  options.load.max_context_tokens = kPagesPerPlace * kPageTokens;
  options.load.kv_pages = options.places * kPagesPerPlace;
  options.load.max_images_per_batch = kMostImages;
  return options;
}

void Print(const std::string& name, double value) {
  std::printf("%-24s %8.3f\n", name.c_str(), value);
  std::fflush(stdout);
}

// Milliseconds, the median of 20.
double TimeRuns(const std::function<void()>& work) {
  constexpr int kWarm = 2, kRuns = 20;
  std::vector<double> times;
  for (int run = 0; run < kWarm + kRuns; ++run) {
    const double start = Now();
    work();
    if (run >= kWarm) times.push_back(Now() - start);
  }
  return Median(times);
}

void TimeModel(ModelDriver& driver, int places, nlohmann::json& result) {
  const auto time = [&](const char* name, const std::function<void()>& work) {
    const double milliseconds = TimeRuns(work);
    result[name] = milliseconds;
    Print(name, milliseconds);
  };
  const auto image = driver.Encode(1);
  time("prefill_41_ms", [&] { driver.First(0, {}); });
  time("ttft_cached_ms", [&] { driver.First(0, image); });
  time("ttft_new_ms", [&] { driver.First(0, driver.Encode(1)); });
  for (const int rows : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512}) {
    if (rows > places) break;
    const double milliseconds = driver.Decode(rows, 50);
    result["decode"][std::to_string(rows)] = milliseconds;
    Print(absl::StrCat("decode ", rows), milliseconds);
  }
  for (const int batch : {1, 8, 16, 32}) {
    const double frames = driver.FramesPerSecond(batch, 512);
    result["frames_per_second"][std::to_string(batch)] = frames;
    Print(absl::StrCat("frames/s in batches of ", batch), frames);
  }
}

nlohmann::json Profile(ModelDriver& driver, int places) {
  constexpr int kSteps = 5;
  nlohmann::json profile;
  for (const int rows : {1, 8, 32, 128, 256}) {
    if (rows > places) break;
    driver.Decode(rows, 1);
    const auto kernels = ProfileKernels([&] {
      for (int i = 0; i < kSteps; ++i) driver.Step(rows);
    });
    profile[absl::StrCat("decode_", rows)] = KernelTable(kernels, kSteps);
  }
  const auto of_first = ProfileKernels([&] { driver.First(0, driver.Encode(1)); });
  profile["first_token_new_image"] = KernelTable(of_first, 1);
  const auto of_vision = ProfileKernels([&] {
    driver.Encode(kMostImages);
    driver.First(0, {});
  });
  profile["vision_32"] = KernelTable(of_vision, 1);
  return profile;
}

int Run(const std::vector<std::string>& arguments) {
  const std::optional<StageOptions> options = ReadArguments(arguments);
  if (!options) return 64;
  const ModelConfig config = Checked(LoadModelConfig(options->load.folder));
  const double begin = Now();
  const std::unique_ptr<Model> model = Checked(LoadLlavaMini(options->load, config));
  nlohmann::json result = {{"device", model->facts().device},
                           {"dtype", model->facts().dtype},
                           {"fp8", options->load.quantization == Quantization::kFp8},
                           {"deterministic", options->load.deterministic},
                           {"parameters", model->facts().parameters},
                           {"start_ms", Now() - begin}};
  std::printf("loaded and prepared in %.1f s\n", (Now() - begin) / 1000);
  ModelDriver driver(model.get(), static_cast<int>(config.vision.image_size), options->places);
  TimeModel(driver, options->places, result);
  if (options->profile) result["profile"] = Profile(driver, options->places);
  if (options->parts) {
    const Bench bench(at::kBFloat16);
    std::deque<Captured> captured;  // the memory of captured work goes with the last of it
    result["parts"] = TimeParts(config, bench, captured);
    result["parts"].update(TimeBlocks(config, bench, captured));
    for (const auto& [name, value] : result["parts"].items()) Print(name, value.get<double>());
  }
  if (!options->json_file.empty()) std::ofstream(options->json_file) << result.dump(1) << "\n";
  return 0;
}

}  // namespace
}  // namespace llavamini

int main(int argc, char** argv) {
  return llavamini::RunMain("llavamini-stages", argc, argv, llavamini::Run);
}
