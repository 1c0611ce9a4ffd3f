#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/text/splitter.h"

#include <pcre2.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "model/text/split_pattern.h"
#include "model/text/tokenizer_json.h"
#include "model/text/unicode_stand_ins.h"
#include "model/text/utf8.h"

namespace llavamini {
namespace {

// Of one search for the next piece; LLaMA-3's pattern needs a few steps a byte.
constexpr uint32_t kMaxSteps = 10'000'000;
constexpr uint32_t kMaxDepth = 10'000'000;
constexpr uint32_t kMaxHeapKibibytes = 64 * 1024;

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

PCRE2_SPTR Subject(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

class Splitter::Pattern {
 public:
  static absl::StatusOr<std::unique_ptr<const Pattern>> Compile(std::string_view pattern) {
    const absl::StatusOr<std::string> translated = TranslateSplitPattern(pattern);
    if (!translated.ok()) return translated.status();
    auto compiled = std::make_unique<Pattern>();
    int error = 0;
    PCRE2_SIZE place = 0;
    compiled->code_.reset(pcre2_compile(Subject(*translated), translated->size(),
                                        PCRE2_UTF | PCRE2_UCP, &error, &place, nullptr));
    compiled->limits_.reset(pcre2_match_context_create(nullptr));
    if (!compiled->code_ || !compiled->limits_) {
      return TokenizerError("pre_tokenizer: Split.pattern is not a valid pattern");
    }
    uint32_t matches_nothing = 0;
    pcre2_pattern_info(compiled->code_.get(), PCRE2_INFO_MATCHEMPTY, &matches_nothing);
    if (matches_nothing) {
      return TokenizerError("pre_tokenizer: Split.pattern must not match the empty text");
    }
    pcre2_set_match_limit(compiled->limits_.get(), kMaxSteps);
    pcre2_set_depth_limit(compiled->limits_.get(), kMaxDepth);
    pcre2_set_heap_limit(compiled->limits_.get(), kMaxHeapKibibytes);
    // Where there is no JIT, matching interprets: slower, the same result.
    pcre2_jit_compile(compiled->code_.get(), PCRE2_JIT_COMPLETE);
    return compiled;
  }

  // Appends, for each piece of `text`, where it ends, counted from `base` before the text.
  void AppendEnds(std::string_view text, size_t base, std::vector<size_t>* ends) const {
    const std::unique_ptr<pcre2_match_data, Free> match(pcre2_match_data_create(1, nullptr));
    size_t last = 0;
    while (match && last < text.size() && Match(text, last, match.get())) {
      const PCRE2_SIZE* found = pcre2_get_ovector_pointer(match.get());
      if (found[0] > last) ends->push_back(base + found[0]);
      ends->push_back(base + found[1]);
      last = found[1];
    }
    if (last < text.size()) ends->push_back(base + text.size());
  }

 private:
  bool Match(std::string_view text, size_t from, pcre2_match_data* match) const {
    // The caller has checked the text: checking it again at every piece would be quadratic.
    int found = pcre2_match(code_.get(), Subject(text), text.size(), from, PCRE2_NO_UTF_CHECK,
                            match, limits_.get());
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      found = pcre2_match(code_.get(), Subject(text), text.size(), from,
                          PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, limits_.get());
    }
    return found >= 0;
  }

  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_context, Free> limits_;
};

Splitter::Splitter() = default;
Splitter::Splitter(Splitter&&) noexcept = default;
Splitter& Splitter::operator=(Splitter&&) noexcept = default;
Splitter::~Splitter() = default;

absl::StatusOr<Splitter> Splitter::Create(const std::vector<std::string>& patterns) {
  Splitter splitter;
  for (const std::string& pattern : patterns) {
    auto compiled = Pattern::Compile(pattern);
    if (!compiled.ok()) return compiled.status();
    splitter.patterns_.push_back(*std::move(compiled));
  }
  return splitter;
}

std::vector<std::string_view> Splitter::Split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  size_t begin = 0, end = 0;  // of the run of whole characters
  while (end < text.size()) {
    const Utf8Unit unit = FirstUtf8Unit(text.substr(end));
    if (unit.kind == Utf8Kind::kWhole) {
      end += unit.length;
      continue;
    }
    SplitCharacters(text.substr(begin, end - begin), &pieces);
    for (size_t i = 0; i < unit.length; ++i) pieces.push_back(text.substr(end + i, 1));
    begin = end += unit.length;
  }
  SplitCharacters(text.substr(begin), &pieces);
  return pieces;
}

void Splitter::SplitCharacters(std::string_view text, std::vector<std::string_view>* pieces) const {
  if (text.empty()) return;
  const std::string known = ReplaceNewCharacters(text);
  std::vector<size_t> ends = {text.size()};
  for (const auto& pattern : patterns_) {
    std::vector<size_t> finer;
    size_t begin = 0;
    for (const size_t end : ends) {
      pattern->AppendEnds(std::string_view(known).substr(begin, end - begin), begin, &finer);
      begin = end;
    }
    ends = std::move(finer);
  }
  size_t begin = 0;
  for (const size_t end : ends) {
    pieces->push_back(text.substr(begin, end - begin));
    begin = end;
  }
}

}  // namespace llavamini
