// What tokenizer.json says, checked: from here on every id is in range and every merge is of known
// tokens. Read once at load; pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/text/tokenizer.h"

namespace llavamini {

struct MergeRule {
  TokenId left = 0, right = 0, merged = 0;
};

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
};

struct TokenizerFile {
  std::vector<std::pair<std::string, TokenId>> vocabulary;  // as written, in the byte alphabet
  std::vector<MergeRule> merges;                            // first is merged first
  std::vector<AddedToken> added_tokens;
  std::vector<std::string> split_patterns;  // applied one after the other
  bool ignore_merges = false;               // a piece that is a token is not merged but taken whole
};

// Errors (InvalidArgument) begin with "tokenizer.json: " and name the key.
absl::StatusOr<TokenizerFile> ParseTokenizerFile(std::string_view json, int64_t vocab_size);

}  // namespace llavamini
