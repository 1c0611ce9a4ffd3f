// Cuts text into the pieces that are encoded on their own. Built once at load, then only read: safe
// from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace llavamini {

class Splitter {
 public:
  // `patterns` as tokenizer.json has them; each cuts further what the ones before it left whole.
  // Both what matches and what lies between is a piece.
  static absl::StatusOr<Splitter> Create(const std::vector<std::string>& patterns);

  Splitter(Splitter&&) noexcept;
  Splitter& operator=(Splitter&&) noexcept;
  ~Splitter();

  // The pieces, in order, joined are `text`. A byte that belongs to no UTF-8 character is a piece
  // of its own. Linear in the text for patterns like LLaMA-3's; one that needs more steps than the
  // limit leaves the rest of its text whole.
  std::vector<std::string_view> Split(std::string_view text) const;

 private:
  class Pattern;  // hides PCRE2

  Splitter();
  void SplitCharacters(std::string_view text, std::vector<std::string_view>* pieces) const;

  std::vector<std::unique_ptr<const Pattern>> patterns_;
};

}  // namespace llavamini
