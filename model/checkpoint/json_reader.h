// Strict JSON for a checkpoint's files, and typed, bounded access to the keys of one object. Any
// thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llavamini {

// One JSON document. Beyond JSON's grammar it refuses a name that occurs twice in one object,
// nesting deeper than 32 and NUL bytes. The error gives the byte's position, never the text.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// As ParseJson, for a document that must be an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

// A value as an error may show it: a number, a short string, or what kind of thing it is.
std::string DescribeJson(const nlohmann::json& value);

// Reads keys of `object`; null counts as absent. A value of another type or outside its bounds, and
// an absent key without a fallback, set `failure` (kept when it is set already) and yield the
// fallback or the lower bound. So a struct is filled without a check per key, and the caller looks
// at `failure` once.
class JsonReader {
 public:
  // path: what precedes a key in errors, such as "vision_config.". Both references must outlive the
  // reader.
  JsonReader(const nlohmann::json& object, std::string path, absl::Status& failure);

  int64_t Integer(const char* key, int64_t low, int64_t high,
                  std::optional<int64_t> fallback = std::nullopt);
  double Number(const char* key, double low, double high,
                std::optional<double> fallback = std::nullopt);
  bool Boolean(const char* key, bool fallback);
  std::string OneOf(const char* key, const std::vector<std::string>& allowed,
                    std::optional<std::string> fallback = std::nullopt);

  // One integer or a list of 1 to 64 of them.
  std::vector<int64_t> Integers(const char* key, int64_t low, int64_t high,
                                std::vector<int64_t> fallback);

  // An object to read with its own reader, or nullptr when absent or when it is not an object,
  // which is a failure.
  const nlohmann::json* Object(const char* key);

  const nlohmann::json* Find(const char* key) const;
  void Fail(const std::string& key, const std::string& found, const std::string& allowed);
  const std::string& path() const { return path_; }

 private:
  const nlohmann::json& object_;
  std::string path_;
  absl::Status& failure_;
};

}  // namespace llavamini
