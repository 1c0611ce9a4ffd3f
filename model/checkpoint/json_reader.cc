#include "model/checkpoint/json_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_join.h"
#include "model/checkpoint/error_text.h"

namespace llavamini {
namespace {

using nlohmann::json;

constexpr size_t kDeepest = 32;
constexpr size_t kLongestString = 60;
constexpr size_t kLongestList = 64;

// Builds the tree as the parser reports its events, and stops at the first name or depth that is
// refused.
class TreeBuilder final : public nlohmann::json_sax<json> {
 public:
  explicit TreeBuilder(json& root) : root_(root) {}

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t& /*text*/) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t& value) override { return Add(std::move(value)); }
  bool start_object(size_t /*elements*/) override { return Enter(json::object()); }
  bool start_array(size_t /*elements*/) override { return Enter(json::array()); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name)) {
      error_ = absl::StrCat("the name \"", Printable(name), "\" occurs twice");
      return false;
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    error_ = absl::StrCat("is not valid JSON (byte ", position, ")");
    return false;
  }

  const std::string& error() const { return error_; }

 private:
  json* Place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *open_.back();
    if (!parent.is_array()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool Add(json value) {
    Place(std::move(value));
    return true;
  }

  bool Enter(json container) {
    if (open_.size() == kDeepest) {
      error_ = absl::StrCat("is nested deeper than ", kDeepest);
      return false;
    }
    open_.push_back(Place(std::move(container)));
    return true;
  }

  bool Leave() {
    open_.pop_back();
    return true;
  }

  json& root_;
  std::vector<json*> open_;  // the containers around the next value; only the last one grows
  std::string key_;
  std::string error_;
};

// False as well for an integer above the largest int64.
bool IsInt64(const json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  return value.is_number_integer();
}

bool IsIntegerWithin(const json& value, int64_t low, int64_t high) {
  return IsInt64(value) && value.get<int64_t>() >= low && value.get<int64_t>() <= high;
}

std::string AbsentMeans(int64_t value) { return absl::StrCat("missing, which means ", value); }

}  // namespace

absl::StatusOr<json> ParseJson(std::string_view text) {
  // The parser would take a NUL byte for the end and accept what precedes it.
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    return BadCheckpoint("is not valid JSON (byte ", nul + 1, ")");
  }
  json root;
  TreeBuilder builder(root);
  if (!json::sax_parse(text.begin(), text.end(), &builder)) return BadCheckpoint(builder.error());
  return root;
}

absl::StatusOr<json> ParseJsonObject(std::string_view text) {
  absl::StatusOr<json> document = ParseJson(text);
  if (!document.ok() || document->is_object()) return document;
  return BadCheckpoint("is ", DescribeJson(*document), "; it must be an object");
}

std::string DescribeJson(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return absl::StrCat("a list of ", value.size());
  if (!value.is_string()) return value.dump();
  const auto& text = value.get_ref<const std::string&>();
  const bool cut = text.size() > kLongestString;
  return absl::StrCat("\"", Printable(text.substr(0, kLongestString)), cut ? "...\"" : "\"");
}

JsonReader::JsonReader(const json& object, std::string path, absl::Status& failure)
    : object_(object), path_(std::move(path)), failure_(failure) {}

const json* JsonReader::Find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonReader::Fail(const std::string& key, const std::string& found,
                      const std::string& allowed) {
  if (!failure_.ok()) return;
  failure_ = BadCheckpoint(path_, key, " is ", found, "; it must be ", allowed);
}

int64_t JsonReader::Integer(const char* key, int64_t low, int64_t high,
                            std::optional<int64_t> fallback) {
  const json* value = Find(key);
  const std::string allowed = absl::StrCat("an integer from ", low, " to ", high);
  if (value == nullptr && fallback.has_value()) {
    if (*fallback < low || *fallback > high) Fail(key, AbsentMeans(*fallback), allowed);
    return *fallback;
  }
  if (value != nullptr && IsIntegerWithin(*value, low, high)) return value->get<int64_t>();
  Fail(key, value == nullptr ? "missing" : DescribeJson(*value), allowed);
  return fallback.value_or(low);
}

double JsonReader::Number(const char* key, double low, double high,
                          std::optional<double> fallback) {
  const json* value = Find(key);
  if (value == nullptr && fallback.has_value()) return *fallback;
  if (value != nullptr && value->is_number()) {
    const double number = value->get<double>();
    if (std::isfinite(number) && number >= low && number <= high) return number;
  }
  Fail(key, value == nullptr ? "missing" : DescribeJson(*value),
       absl::StrCat("a number from ", low, " to ", high));
  return fallback.value_or(low);
}

bool JsonReader::Boolean(const char* key, bool fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  Fail(key, DescribeJson(*value), "true or false");
  return fallback;
}

std::string JsonReader::OneOf(const char* key, const std::vector<std::string>& allowed,
                              std::optional<std::string> fallback) {
  const json* value = Find(key);
  if (value == nullptr && fallback.has_value()) return *fallback;
  if (value != nullptr && value->is_string() &&
      std::find(allowed.begin(), allowed.end(), value->get_ref<const std::string&>()) !=
          allowed.end()) {
    return value->get<std::string>();
  }
  Fail(key, value == nullptr ? "missing" : DescribeJson(*value),
       absl::StrCat("\"", absl::StrJoin(allowed, "\" or \""), "\""));
  return allowed.front();
}

std::vector<int64_t> JsonReader::Integers(const char* key, int64_t low, int64_t high,
                                          std::vector<int64_t> fallback) {
  const json* value = Find(key);
  const std::string allowed = absl::StrCat("an integer from ", low, " to ", high);
  if (value == nullptr) {
    for (const int64_t integer : fallback) {
      if (integer < low || integer > high) Fail(key, AbsentMeans(integer), allowed);
    }
    return fallback;
  }
  const json list = value->is_array() ? *value : json::array({*value});
  if (list.empty() || list.size() > kLongestList) {
    Fail(key, DescribeJson(*value), absl::StrCat(allowed, ", or 1 to ", kLongestList, " of them"));
    return fallback;
  }
  std::vector<int64_t> integers;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = value->is_array() ? absl::StrCat(key, "[", i, "]") : key;
    if (!IsIntegerWithin(list[i], low, high)) Fail(place, DescribeJson(list[i]), allowed);
    if (!failure_.ok()) return fallback;
    integers.push_back(list[i].get<int64_t>());
  }
  return integers;
}

const json* JsonReader::Object(const char* key) {
  const json* value = Find(key);
  if (value == nullptr || value->is_object()) return value;
  Fail(key, DescribeJson(*value), "an object");
  return nullptr;
}

}  // namespace llavamini
