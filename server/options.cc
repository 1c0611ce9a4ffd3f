#include "server/options.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace llavamini {
namespace {

// How one option is read: false when the text is not allowed.
struct Reader {
  std::function<bool(const std::string& text, ServerOptions& options)> read;
  std::string allowed;
  const char* alone = nullptr;  // what the flag without a value means; null: it needs one
};

Reader Text(std::string ServerOptions::*field, std::string allowed) {
  return {[field](const std::string& text, ServerOptions& options) {
            options.*field = text;
            return true;
          },
          std::move(allowed)};
}

Reader Number(int64_t ServerOptions::*field, int64_t low, int64_t high) {
  return {[=](const std::string& text, ServerOptions& options) {
            int64_t value = 0;
            if (!absl::SimpleAtoi(text, &value) || value < low || value > high) return false;
            options.*field = value;
            return true;
          },
          absl::StrCat(low, " to ", high)};
}

Reader Decimal(double ServerOptions::*field, double low, double high) {
  return {[=](const std::string& text, ServerOptions& options) {
            double value = 0;
            if (!absl::SimpleAtod(text, &value) || !(value >= low && value <= high)) return false;
            options.*field = value;
            return true;
          },
          absl::StrCat(low, " to ", high)};
}

template <typename Value>
Reader Choice(Value ServerOptions::*field, std::vector<std::pair<std::string, Value>> choices) {
  std::string allowed;
  for (const auto& [name, value] : choices) {
    absl::StrAppend(&allowed, allowed.empty() ? "" : ", ", name);
  }
  return {[field, choices = std::move(choices)](const std::string& text, ServerOptions& options) {
            for (const auto& [name, value] : choices) {
              if (text != name) continue;
              options.*field = value;
              return true;
            }
            return false;
          },
          std::move(allowed)};
}

Reader Switch(bool ServerOptions::*field) {
  Reader reader = Choice<bool>(field, {{"true", true}, {"false", false}});
  reader.alone = "true";
  return reader;
}

Reader Seconds(absl::Duration ServerOptions::*field, double high) {
  return {[=](const std::string& text, ServerOptions& options) {
            double seconds = 0;
            absl::string_view number = text;
            absl::ConsumeSuffix(&number, "s");
            if (!absl::SimpleAtod(number, &seconds)) return false;
            if (!(seconds >= 0 && seconds <= high)) return false;
            options.*field = absl::Seconds(seconds);
            return true;
          },
          absl::StrCat("0 to ", high, " seconds")};
}

Reader Address(std::string ServerOptions::*field) {
  return {[=](const std::string& text, ServerOptions& options) {
            const size_t colon = text.rfind(':');
            int64_t port = 0;
            if (colon == std::string::npos || colon == 0) return false;
            if (!absl::SimpleAtoi(text.substr(colon + 1), &port)) return false;
            options.*field = text;
            return port >= 0 && port <= 65535;
          },
          "HOST:PORT, port 0 to 65535 (0: any free one)"};
}

struct Option {
  const char* name;
  const char* hint;
  Reader reader;
  const char* standard;  // the default; empty: none
  const char* help;
};

std::vector<Option> Table() {
  using O = ServerOptions;
  constexpr int64_t kManyTokens = int64_t{1} << 30;
  return {
      {"model", "DIR", Text(&O::model, "a folder"), "", "checkpoint folder (required)"},
      {"model-name", "NAME", Text(&O::model_name, "a name"), "",
       "name in the API; default: the folder's"},
      {"vision-tower", "DIR", Text(&O::vision_tower, "a folder"), "",
       "CLIP checkpoint folder, for a checkpoint without CLIP"},
      {"device", "DEVICE",
       Choice<DeviceKind>(
           &O::device,
           {{"auto", DeviceKind::kAuto}, {"cpu", DeviceKind::kCpu}, {"cuda", DeviceKind::kCuda}}),
       "auto", "where the model runs"},
      {"dtype", "DTYPE",
       Choice<DtypeChoice>(&O::dtype, {{"auto", DtypeChoice::kAuto},
                                       {"float32", DtypeChoice::kFloat32},
                                       {"bfloat16", DtypeChoice::kBfloat16},
                                       {"float16", DtypeChoice::kFloat16}}),
       "auto", "of the weights; auto: float32 on the CPU, bfloat16 on a GPU"},
      {"load-format", "FORMAT",
       Choice<LoadFormat>(&O::load_format,
                          {{"auto", LoadFormat::kAuto}, {"dummy", LoadFormat::kDummy}}),
       "auto", "auto: safetensors; dummy: made-up weights of the configuration's shapes"},
      {"quantization", "KIND",
       Choice<Quantization>(&O::quantization,
                            {{"none", Quantization::kNone}, {"fp8", Quantization::kFp8}}),
       "none", "of the LLaMA blocks' weights, made at load; fp8 needs a GPU"},
      {"deterministic", "", Switch(&O::deterministic), "false",
       "the same answer, bit for bit, whatever else is answered with it"},
      {"threads", "N", Number(&O::threads, 0, 1024), "0",
       "of the model on the CPU; 0: one per core"},
      {"gpu-memory-utilization", "SHARE", Decimal(&O::gpu_memory_utilization, 0.1, 0.98), "0.9",
       "of the GPU's memory that is used"},
      {"gpu-memory-limit-gib", "GIB", Decimal(&O::gpu_memory_limit_gib, 0, 4096), "0",
       "of the GPU's memory instead of a share; 0: the share"},
      {"tuning-cache", "FILE", Text(&O::tuning_cache, "a file, or nothing for none"), "",
       "keeps what was measured on the GPU; default: llavamini/tuning.json among the user's "
       "caches"},
      {"grpc-address", "HOST:PORT", Address(&O::grpc_address), "127.0.0.1:50051",
       "where to listen"},
      {"port-file", "FILE", Text(&O::port_file, "a file"), "", "receives the port's number"},
      {"max-context-tokens", "N", Number(&O::max_context_tokens, 0, kManyTokens), "0",
       "prompt and answer together; 0: the checkpoint's tokenizer_model_max_length"},
      {"max-running", "N", Number(&O::max_running, 1, 4096), "64", "requests answered together"},
      {"max-waiting", "N", Number(&O::max_waiting, 1, 65536), "256",
       "requests that wait for a place; more are refused"},
      {"max-frames", "N", Number(&O::max_frames, 1, 20000), "256", "video frames in a request"},
      {"max-images-per-batch", "N", Number(&O::max_images_per_batch, 1, 256), "8",
       "images encoded together"},
      {"max-step-rows", "N", Number(&O::max_step_rows, 16, int64_t{1} << 20), "1024",
       "rows of prompts and answers in one step of the model"},
      {"kv-cache-tokens", "N", Number(&O::kv_cache_tokens, 0, kManyTokens), "0",
       "room of the key-value cache, at least one whole context; 0: what the GPU's memory leaves, "
       "65536 on the CPU"},
      {"image-cache-mib", "N", Number(&O::image_cache_mib, 0, int64_t{1} << 20), "512",
       "encoded images kept on the device for later questions; less where a GPU's memory is short"},
      {"image-cache-host-mib", "N", Number(&O::image_cache_host_mib, 0, int64_t{1} << 20), "4096",
       "more of them in the host's memory, of a model on a GPU"},
      {"prepare-threads", "N", Number(&O::prepare_threads, 0, 256), "0",
       "that decode pictures; 0: one per core, at most 8"},
      {"shutdown-timeout", "SECONDS", Seconds(&O::shutdown_timeout, 86400), "30",
       "for running answers to finish after SIGTERM"},
      {"log-level", "LEVEL",
       Choice<std::string>(
           &O::log_level,
           {{"debug", "debug"}, {"info", "info"}, {"warning", "warning"}, {"error", "error"}}),
       "info", "least level that is logged"},
      {"log-format", "FORMAT",
       Choice<LogFormat>(&O::log_format, {{"text", LogFormat::kText}, {"json", LogFormat::kJson}}),
       "text", "of the log on standard error"},
  };
}

std::string VariableOf(const Option& option) {
  return absl::StrCat("LLAVAMINI_",
                      absl::AsciiStrToUpper(absl::StrReplaceAll(option.name, {{"-", "_"}})));
}

absl::Status Read(const Option& option, const std::string& source, const std::string& text,
                  ServerOptions& options) {
  if (option.reader.read(text, options)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(source, ": must be ", option.reader.allowed));
}

std::string DefaultTuningCache(const Environment& environment) {
  constexpr char kFile[] = "/llavamini/tuning.json";
  const std::optional<std::string> caches = environment("XDG_CACHE_HOME");
  if (caches && !caches->empty()) return *caches + kFile;
  const std::optional<std::string> home = environment("HOME");
  return home && !home->empty() ? absl::StrCat(*home, "/.cache", kFile) : "";
}

absl::Status ReadDefaults(const std::vector<Option>& table, const Environment& environment,
                          ServerOptions& options) {
  options.tuning_cache = DefaultTuningCache(environment);
  for (const Option& option : table) {
    if (*option.standard != '\0') {
      absl::Status status = Read(option, option.name, option.standard, options);
      if (!status.ok()) return status;
    }
    const std::string variable = VariableOf(option);
    const std::optional<std::string> text = environment(variable);
    if (!text || text->empty()) continue;
    if (absl::Status status = Read(option, variable, *text, options); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Reads the flag at arguments[i], and its value after it when it has none of its own; leaves i at
// the last one read.
absl::Status ReadFlag(const std::vector<Option>& table, const std::vector<std::string>& arguments,
                      size_t& i, ServerOptions& options) {
  const std::string& argument = arguments[i];
  if (!absl::StartsWith(argument, "--")) {
    return absl::InvalidArgumentError("arguments without a flag are not taken; see --help");
  }
  const size_t equals = argument.find('=');
  const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
  for (const Option& option : table) {
    if (name != option.name) continue;
    if (equals != std::string::npos) {
      return Read(option, "--" + name, argument.substr(equals + 1), options);
    }
    if (option.reader.alone != nullptr) {
      return Read(option, "--" + name, option.reader.alone, options);
    }
    if (i + 1 == arguments.size()) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, ": needs a value"));
    }
    return Read(option, "--" + name, arguments[++i], options);
  }
  return absl::InvalidArgumentError(absl::StrCat("--", name, ": no such flag; see --help"));
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const Environment& environment) {
  const std::vector<Option> table = Table();
  CommandLine command;
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") command.action = CommandLine::Action::kHelp;
    if (argument == "--version") command.action = CommandLine::Action::kVersion;
  }
  if (command.action != CommandLine::Action::kServe) return command;
  absl::Status status = ReadDefaults(table, environment, command.options);
  for (size_t i = 0; i < arguments.size() && status.ok(); ++i) {
    status = ReadFlag(table, arguments, i, command.options);
  }
  if (!status.ok()) return status;
  if (command.options.model.empty()) {
    return absl::InvalidArgumentError("--model: must name a checkpoint folder; see --help");
  }
  return command;
}

std::string HelpText() {
  std::string text =
      "llavamini-server --model DIR [flags]\n\nServes a LLaVA-Mini checkpoint over gRPC. "
      "Each flag is also a variable, --log-level as LLAVAMINI_LOG_LEVEL; the flag wins.\n\n";
  for (const Option& option : Table()) {
    const char* space = *option.hint == '\0' ? "" : " ";
    absl::StrAppendFormat(&text, "  %-32s%s\n", absl::StrCat("--", option.name, space, option.hint),
                          option.help);
    absl::StrAppendFormat(
        &text, "  %-32s%s%s\n", "", option.reader.allowed,
        *option.standard == '\0' ? "" : absl::StrCat("; default ", option.standard));
  }
  absl::StrAppend(&text, "  --help, --version\n\n",
                  "Exit codes: 0 ended as asked, 64 flags, 65 checkpoint, 69 device, 70 internal "
                  "failure or device lost, 74 port.\n");
  return text;
}

}  // namespace llavamini
