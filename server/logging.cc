#include "server/logging.h"

#include <grpc/support/log.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace llavamini {
namespace {

constexpr size_t kQueueLines = 8192;

std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false,
                                   nlohmann::json::error_handler_t::replace);
}

class LineFormatter final : public spdlog::formatter {
 public:
  explicit LineFormatter(LogFormat format) : format_(format) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ",
                                              absl::FromChrono(message.time), absl::UTCTimeZone());
    const auto level = spdlog::level::to_string_view(message.level);
    const std::string line =
        FormatLogLine(time, std::string(level.data(), level.size()),
                      std::string(message.logger_name.data(), message.logger_name.size()),
                      std::string(message.payload.data(), message.payload.size()), format_) +
        "\n";
    out.append(line.data(), line.data() + line.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(format_);
  }

 private:
  const LogFormat format_;
};

}  // namespace

std::string FormatLogLine(const std::string& time, const std::string& level,
                          const std::string& logger, const std::string& message, LogFormat format) {
  if (format == LogFormat::kJson) {
    const std::string members =
        logger == kRequestLogger ? message : absl::StrCat("\"message\":", Quoted(message));
    return absl::StrCat("{\"time\":", Quoted(time), ",\"level\":", Quoted(level), ",", members,
                        "}");
  }
  std::string line = absl::StrCat(time, " ", level, " ", message);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  }
  return line;
}

void StartLogging(const std::string& level, LogFormat format) {
  gpr_set_log_function([](gpr_log_func_args*) {});
  spdlog::init_thread_pool(kQueueLines, 1);
  const auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  sink->set_formatter(std::make_unique<LineFormatter>(format));
  for (const char* name : {"server", kRequestLogger}) {
    auto logger = std::make_shared<spdlog::async_logger>(
        name, sink, spdlog::thread_pool(), spdlog::async_overflow_policy::overrun_oldest);
    logger->set_level(spdlog::level::from_str(level));
    spdlog::register_logger(logger);
  }
  spdlog::set_default_logger(spdlog::get("server"));
}

void StopLogging() { spdlog::shutdown(); }

}  // namespace llavamini
