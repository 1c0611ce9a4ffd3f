#include "model/checkpoint/error_text.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"

namespace llavamini {
namespace {

constexpr size_t kLongestName = 160;

}  // namespace

std::string Printable(const std::string& name) {
  if (name.size() <= kLongestName) return absl::CHexEscape(name);
  return absl::StrCat(absl::CHexEscape(name.substr(0, kLongestName)), "...");
}

std::string ShapeText(std::span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape.begin(), shape.end(), ", "), "]");
}

absl::Status Within(const std::string& place, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(place, ": ", std::string(status.message())));
}

}  // namespace llavamini
