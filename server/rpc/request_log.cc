#include "server/rpc/request_log.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace llavamini {
namespace {

using Json = nlohmann::ordered_json;

double Milliseconds(absl::Duration duration) {
  return static_cast<double>(absl::ToInt64Microseconds(duration)) / 1000.0;
}

Json Fields(const RequestRecord& record) {
  Json fields = {{"method", std::string(record.method)},
                 {"id", std::string(record.id)},
                 {"status", std::string(record.status)},
                 {"reason", std::string(record.reason)}};
  if (!record.error_id.empty()) fields["error_id"] = std::string(record.error_id);
  fields.update({{"prompt_tokens", record.usage.prompt_tokens},
                 {"completion_tokens", record.usage.completion_tokens},
                 {"vision_tokens", record.usage.vision_tokens},
                 {"images", record.usage.images},
                 {"cached_images", record.usage.cached_images},
                 {"queue_ms", Milliseconds(record.timings.queue)},
                 {"media_decode_ms", Milliseconds(record.timings.media_decode)},
                 {"vision_encode_ms", Milliseconds(record.timings.vision_encode)},
                 {"prefill_ms", Milliseconds(record.timings.prefill)},
                 {"first_token_ms", Milliseconds(record.timings.first_token)},
                 {"total_ms", Milliseconds(record.timings.total)}});
  return fields;
}

std::string Dump(const Json& value) {
  return value.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace

std::string FormatRequest(const RequestRecord& record, LogFormat format) {
  const Json fields = Fields(record);
  if (format == LogFormat::kJson) {
    const std::string object = Dump({{"event", "request"}});
    const std::string rest = Dump(fields);
    return absl::StrCat(object.substr(1, object.size() - 2), ",", rest.substr(1, rest.size() - 2));
  }
  std::string line = "request";
  for (const auto& [key, value] : fields.items()) {
    const bool bare = value.is_string() && key != "id";
    absl::StrAppend(&line, " ", key, "=", bare ? value.get<std::string>() : Dump(value));
  }
  return line;
}

void LogRequest(const RequestRecord& record, LogFormat format) {
  std::shared_ptr<spdlog::logger> logger = spdlog::get(kRequestLogger);
  if (logger == nullptr) logger = spdlog::default_logger();
  logger->info(FormatRequest(record, format));
}

}  // namespace llavamini
