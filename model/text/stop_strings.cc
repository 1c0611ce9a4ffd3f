#include "model/text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace llavamini {
namespace {

std::vector<size_t> Borders(const std::string& stop) {
  std::vector<size_t> border(stop.size(), 0);
  for (size_t i = 1, length = 0; i < stop.size(); ++i) {
    while (length > 0 && stop[i] != stop[length]) length = border[length - 1];
    if (stop[i] == stop[length]) ++length;
    border[i] = length;
  }
  return border;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    std::vector<size_t> border = Borders(stop);
    matchers_.push_back({std::move(stop), std::move(border), 0});
  }
}

size_t StopStrings::Advance(char byte) {
  size_t complete = 0;
  for (Matcher& matcher : matchers_) {
    const std::string& stop = matcher.stop;
    size_t& matched = matcher.matched;
    while (matched > 0 && stop[matched] != byte) matched = matcher.border[matched - 1];
    if (stop[matched] == byte) ++matched;
    if (matched == stop.size()) complete = std::max(complete, matched);
  }
  return complete;
}

StopStrings::Result StopStrings::Push(std::string_view text) {
  if (stopped_) return {"", true};
  for (const char byte : text) {
    held_ += byte;
    if (const size_t complete = Advance(byte); complete > 0) {
      held_.resize(held_.size() - complete);
      stopped_ = true;
      return {std::exchange(held_, ""), true};
    }
  }
  size_t possible = 0;
  for (const Matcher& matcher : matchers_) possible = std::max(possible, matcher.matched);
  Result result{held_.substr(0, held_.size() - possible), false};
  held_.erase(0, held_.size() - possible);
  return result;
}

std::string StopStrings::Flush() {
  for (Matcher& matcher : matchers_) matcher.matched = 0;
  return std::exchange(held_, "");
}

}  // namespace llavamini
