#include "model/text/split_pattern.h"

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "model/text/tokenizer_json.h"

namespace llavamini {
namespace {

constexpr size_t kMaxPatternBytes = 4096;

absl::Status Refuse(std::string_view construct) {
  return TokenizerError(absl::StrCat("pre_tokenizer: Split.pattern uses ", std::string(construct),
                                     ", which is not supported"));
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (!rest_.empty()) {
      const absl::Status status = in_class_ ? TakeInClass() : TakeOutside();
      if (!status.ok()) return status;
    }
    return out_;
  }

 private:
  bool Next(std::string_view prefix) const { return rest_.substr(0, prefix.size()) == prefix; }

  absl::Status Copy(size_t count) {
    out_ += rest_.substr(0, count);
    rest_.remove_prefix(count);
    return absl::OkStatus();
  }

  absl::Status Replace(size_t count, std::string_view by) {
    out_ += by;
    rest_.remove_prefix(count);
    return absl::OkStatus();
  }

  absl::Status TakeEscape() {
    if (rest_.size() < 2) return Refuse("a backslash at its end");
    const char c = rest_[1];
    if (c == 's') return Replace(2, "\\p{White_Space}");
    if (c == 'S') return Replace(2, "\\P{White_Space}");
    if (c == 'p' || c == 'P') return TakeProperty();
    if (absl::ascii_ispunct(static_cast<unsigned char>(c)) ||
        std::string_view("rntfdD").find(c) != std::string_view::npos) {
      return Copy(2);
    }
    return Refuse("an escape other than \\r \\n \\t \\f \\d \\D \\s \\S \\p \\P and escaped marks");
  }

  absl::Status TakeProperty() {
    const size_t close = rest_.find('}');
    if (rest_.size() < 4 || rest_[2] != '{' || close == std::string_view::npos || close < 4) {
      return Refuse("\\p without {NAME}");
    }
    for (const char c : rest_.substr(3, close - 3)) {
      if (!absl::ascii_isalpha(static_cast<unsigned char>(c)) && c != '_') {
        return Refuse("\\p without {NAME}");
      }
    }
    return Copy(close + 1);
  }

  absl::Status TakeInClass() {
    if (Next("\\")) return TakeEscape();
    if (Next("[")) return Refuse("a class inside a class");
    if (Next("&&")) return Refuse("an intersection of classes");
    if (Next("]")) in_class_ = false;
    return Copy(1);
  }

  absl::Status TakeOutside() {
    if (Next("\\")) return TakeEscape();
    if (Next("[")) {
      in_class_ = true;
      const size_t length = Next("[^") ? 2 : 1;
      if (rest_.substr(length, 1) == "]") return Refuse("a class that begins with ]");
      return Copy(length);
    }
    if (Next("(*")) return Refuse("(*");
    if (Next("(?") && !Next("(?:") && !Next("(?i:") && !Next("(?=") && !Next("(?!")) {
      return Refuse("a group other than ( (?: (?i: (?= (?!");
    }
    if (Next("(?")) return Copy(2);
    if (Next(".") || Next("^") || Next("$")) return Refuse(". or ^ or $");
    if (Next("{") &&
        (rest_.size() < 2 || !absl::ascii_isdigit(static_cast<unsigned char>(rest_[1])))) {
      return Refuse("{ without a number");
    }
    if (Next("}+") || Next("}?")) return Refuse("}+ or }?");
    return Copy(1);
  }

  std::string_view rest_;
  std::string out_;
  bool in_class_ = false;
};

}  // namespace

absl::StatusOr<std::string> TranslateSplitPattern(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) {
    return TokenizerError(
        absl::StrCat("pre_tokenizer: Split.pattern must have 1 to ", kMaxPatternBytes, " bytes"));
  }
  return Translator(pattern).Run();
}

}  // namespace llavamini
