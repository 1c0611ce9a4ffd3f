#include <limits>
#include <nlohmann/json.hpp>

#include "model/checkpoint/error_text.h"
#include "model/checkpoint/json_reader.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/model_config.h"

namespace llavamini {
namespace {

constexpr char kFile[] = "generation_config.json";
constexpr size_t kLargestFile = 1 << 20;
constexpr double kSmallestPositive = 1e-6;

}  // namespace

absl::StatusOr<GenerationDefaults> LoadGenerationDefaults(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder / kFile, ignored)) return GenerationDefaults{};
  const absl::StatusOr<std::string> text = ReadSmallFile(folder / kFile, kLargestFile);
  if (!text.ok()) return text.status();
  const absl::StatusOr<nlohmann::json> document = ParseJsonObject(*text);
  if (!document.ok()) return Within(kFile, document.status());

  constexpr int64_t kLargestId = std::numeric_limits<int32_t>::max();
  absl::Status failure;
  JsonReader reader(*document, absl::StrCat(kFile, ": "), failure);
  GenerationDefaults defaults;
  const bool sample = reader.Boolean("do_sample", false);
  const double temperature = reader.Number("temperature", 0, 100, 1);
  defaults.temperature = sample ? static_cast<float>(temperature) : 0;
  defaults.top_p = static_cast<float>(reader.Number("top_p", kSmallestPositive, 1, 1));
  defaults.top_k = static_cast<int32_t>(reader.Integer("top_k", 0, kLargestId, 0));
  defaults.min_p = static_cast<float>(reader.Number("min_p", 0, 0.999999, 0));
  defaults.repetition_penalty =
      static_cast<float>(reader.Number("repetition_penalty", kSmallestPositive, 100, 1));
  defaults.eos_token_ids = reader.Integers("eos_token_id", 0, kLargestId, {});
  if (!failure.ok()) return failure;
  return defaults;
}

}  // namespace llavamini
