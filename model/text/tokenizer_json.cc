#include "model/text/tokenizer_json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace llavamini {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 32;

// Watches the parser for what the finished document no longer shows.
class StrictReader {
 public:
  bool Keep(int depth, json::parse_event_t event, const json& parsed) {
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end && !keys_.empty()) keys_.pop_back();
    if (event == json::parse_event_t::key && !keys_.empty()) {
      repeated_key_ |= !keys_.back().insert(parsed.get_ref<const std::string&>()).second;
    }
    too_deep_ |= depth > kMaxDepth;
    return depth <= kMaxDepth;
  }

  absl::Status Verdict() const {
    if (too_deep_) return TokenizerError(absl::StrCat("nested deeper than ", kMaxDepth));
    if (repeated_key_) return TokenizerError("a key is given twice in one object");
    return absl::OkStatus();
  }

 private:
  std::vector<absl::flat_hash_set<std::string>> keys_;  // of the objects that are open
  bool too_deep_ = false;
  bool repeated_key_ = false;
};

}  // namespace

absl::StatusOr<json> ParseTokenizerJson(std::string_view text) {
  StrictReader reader;
  const auto keep = [&reader](int depth, json::parse_event_t event, json& parsed) {
    return reader.Keep(depth, event, parsed);
  };
  json root;
  try {
    root = json::parse(text, keep);
  } catch (const json::parse_error& error) {
    return TokenizerError(absl::StrCat("not valid JSON (byte ", error.byte, ")"));
  } catch (const json::exception&) {
    return TokenizerError("not valid JSON (a number is out of range)");
  }
  if (absl::Status status = reader.Verdict(); !status.ok()) return status;
  if (!root.is_object()) return TokenizerError("must be an object");
  return root;
}

absl::Status TokenizerError(std::string_view what) {
  return absl::InvalidArgumentError("tokenizer.json: " + std::string(what));
}

const json& Member(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string Word(const json& value) {
  constexpr size_t kLongest = 40;
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (!text.empty() && text.size() <= kLongest &&
        std::all_of(text.begin(), text.end(), [](char c) {
          return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
        })) {
      return text;
    }
  }
  return "of an unknown kind";
}

std::optional<bool> Flag(const json& object, const char* key, bool otherwise) {
  const json& value = Member(object, key);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean()) return std::nullopt;
  return value.get<bool>();
}

}  // namespace llavamini
