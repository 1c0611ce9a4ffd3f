// What the tests of this folder share: the goldens of tests/golden/tokenizer and a small tokenizer
// to change.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/text/prompt.h"
#include "model/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace llavamini {

inline constexpr int64_t kSmallVocabSize = 2000;

// A file of tests/golden/tokenizer.
nlohmann::json ReadGolden(std::string_view name);

// Fails the test and returns null where the file is refused.
std::unique_ptr<const Tokenizer> ParseOrFail(const nlohmann::json& document);
std::unique_ptr<const Tokenizer> SmallTokenizer();

// `unit` `count` times.
std::string Repeated(std::string_view unit, size_t count);

// The bytes of all tokens, one after the other.
std::string BytesOf(const Tokenizer& tokenizer, const std::vector<TokenId>& ids);

// Compares what the tokenizer makes of the texts and long runs of a golden with the golden's ids.
void ExpectEncodings(const Tokenizer& tokenizer, const nlohmann::json& golden);

// Compares the rendered conversations of a golden with the golden's ids.
void ExpectChats(const Tokenizer& tokenizer, const nlohmann::json& chats);

}  // namespace llavamini
