// Byte-level BPE as a Hugging Face tokenizer.json describes it (LLaMA-3's splitting pattern,
// ignore_merges, added tokens). Built once at load, then only read: safe from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llavamini {

using TokenId = int32_t;

// Marks, in a prompt's ids, the row that the vision tokens replace.
inline constexpr TokenId kImagePlaceholder = -200;

class Tokenizer {
 public:
  // Reads tokenizer.json. A tokenizer of another kind (SentencePiece, WordPiece, ...) is refused by
  // its name; an id at or above vocab_size, a duplicate id or a merge of unknown tokens is refused.
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> Load(const std::filesystem::path& file,
                                                               int64_t vocab_size);
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> Parse(std::string_view json,
                                                                int64_t vocab_size);
  virtual ~Tokenizer() = default;

  // Ids of plain text: strings that look like added tokens are only text. Any bytes are accepted
  // (invalid UTF-8 falls back to its bytes). Time is linear (times a logarithm) in the text's
  // length.
  virtual std::vector<TokenId> Encode(std::string_view text) const = 0;

  // The id of an added (special) token such as "<|eot_id|>".
  virtual std::optional<TokenId> SpecialId(std::string_view token) const = 0;

  // The bytes of a token: part of a UTF-8 character is possible. Empty for special tokens and
  // unknown ids.
  virtual std::string_view Bytes(TokenId id) const = 0;

  virtual bool IsSpecial(TokenId id) const = 0;
};

}  // namespace llavamini
