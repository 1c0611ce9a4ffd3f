// The server's options: flags --NAME VALUE (or --NAME=VALUE; --NAME alone where true or false is
// meant) and variables LLAVAMINI_NAME; a flag beats its variable. One table in options.cc says all
// about each. Read once, in main.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/llava_mini.h"
#include "server/rpc/request_log.h"

namespace llavamini {

enum class LoadFormat { kAuto, kDummy };  // safetensors, or weights that are made up

// Every default stands in the table; tuning_cache's is in the user's folder of caches.
struct ServerOptions {
  std::string model;
  std::string model_name;
  std::string vision_tower;
  DeviceKind device = DeviceKind::kAuto;
  DtypeChoice dtype = DtypeChoice::kAuto;
  LoadFormat load_format = LoadFormat::kAuto;
  Quantization quantization = Quantization::kNone;
  bool deterministic = false;
  int64_t threads = 0;
  double gpu_memory_utilization = 0;
  double gpu_memory_limit_gib = 0;  // 0: by utilization
  std::string tuning_cache;         // empty: none
  std::string grpc_address;
  std::string port_file;
  int64_t max_context_tokens = 0;  // 0: the checkpoint's
  int64_t max_running = 0;
  int64_t max_waiting = 0;
  int64_t max_frames = 0;
  int64_t max_images_per_batch = 0;
  int64_t max_step_rows = 0;
  int64_t kv_cache_tokens = 0;  // 0: what the memory plan leaves
  int64_t image_cache_mib = 0;
  int64_t image_cache_host_mib = 0;
  int64_t prepare_threads = 0;  // 0: one per core, at most 8
  absl::Duration shutdown_timeout;
  std::string log_level;
  LogFormat log_format = LogFormat::kText;
};

struct CommandLine {
  enum class Action { kServe, kHelp, kVersion };
  Action action = Action::kServe;
  ServerOptions options;
};

// Looks a variable of the environment up.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// `arguments` without the program's name. The error is one line that names the flag or variable and
// what is allowed.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const Environment& environment);

std::string HelpText();

}  // namespace llavamini
