// The JSON of tokenizer.json, read strictly, and how its errors are worded. For tokenizer_file.cc
// and vocabulary_json.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/text/tokenizer_file.h"
#include "nlohmann/json.hpp"

namespace llavamini {

// Refuses what is not JSON, nesting deeper than 32 and a key given twice in one object.
absl::StatusOr<nlohmann::json> ParseTokenizerJson(std::string_view text);

// "tokenizer.json: " and what is wrong.
absl::Status TokenizerError(std::string_view what);

// The member of that name, or null: where the key is missing, where it is null, where `object` is
// no object.
const nlohmann::json& Member(const nlohmann::json& object, const char* key);

// The string, as long as it is a plain word that may stand in an error message; else "of an unknown
// kind".
std::string Word(const nlohmann::json& value);

// Missing or null is `otherwise`; none: not a boolean.
std::optional<bool> Flag(const nlohmann::json& object, const char* key, bool otherwise);

// Fill vocabulary, merges and added_tokens from the whole file, in this order.
absl::Status ReadVocabulary(const nlohmann::json& root, int64_t vocab_size, TokenizerFile* file);
absl::Status ReadMerges(const nlohmann::json& root, TokenizerFile* file);
absl::Status ReadAddedTokens(const nlohmann::json& root, int64_t vocab_size, TokenizerFile* file);

}  // namespace llavamini
