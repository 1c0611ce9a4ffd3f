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
      {"threads", "N", Number(&O::threads, 0, 1024), "0",
       "of the model on the CPU; 0: one per core"},
      {"grpc-address", "HOST:PORT", Address(&O::grpc_address), "127.0.0.1:50051",
       "where to listen"},
      {"port-file", "FILE", Text(&O::port_file, "a file"), "", "receives the port's number"},
      {"max-context-tokens", "N", Number(&O::max_context_tokens, 0, kManyTokens), "0",
       "prompt and answer together; 0: the checkpoint's tokenizer_model_max_length"},
      {"max-running", "N", Number(&O::max_running, 1, 4096), "64", "requests answered together"},
      {"max-waiting", "N", Number(&O::max_waiting, 1, 65536), "256",
       "requests that wait for a place; more are refused"},
      {"max-frames", "N", Number(&O::max_frames, 1, 20000), "256", "video frames in a request"},
      {"kv-cache-tokens", "N", Number(&O::kv_cache_tokens, 16, kManyTokens), "65536",
       "room of the key-value cache; at least one whole context is made"},
      {"image-cache-mib", "N", Number(&O::image_cache_mib, 0, int64_t{1} << 20), "512",
       "encoded images kept for later questions"},
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

absl::Status ReadDefaults(const std::vector<Option>& table, const Environment& environment,
                          ServerOptions& options) {
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
    absl::StrAppendFormat(&text, "  %-32s%s\n", absl::StrCat("--", option.name, " ", option.hint),
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
