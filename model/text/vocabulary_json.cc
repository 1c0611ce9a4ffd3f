// The parts of tokenizer.json that list tokens: model.vocab, model.merges, added_tokens.
#include <cstdint>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "model/text/tokenizer_json.h"

namespace llavamini {
namespace {

using nlohmann::json;
using IdOfToken = absl::flat_hash_map<std::string_view, TokenId>;

absl::StatusOr<TokenId> ReadId(const json& value, int64_t vocab_size, std::string_view where) {
  if (!value.is_number_integer()) {
    return TokenizerError(absl::StrCat(std::string(where), " must be an integer"));
  }
  const bool huge = value.is_number_unsigned() &&
                    value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
  const int64_t id = huge ? std::numeric_limits<int64_t>::max() : value.get<int64_t>();
  if (id < 0 || id >= vocab_size) {
    return TokenizerError(absl::StrCat(std::string(where), " is outside 0..", vocab_size - 1,
                                       " (the model's vocab_size is ", vocab_size, ")"));
  }
  return static_cast<TokenId>(id);
}

struct MergeText {
  std::string_view left, right;
};

// A merge is "left right", or ["left", "right"] in newer files.
std::optional<MergeText> ReadMergeText(const json& value) {
  if (value.is_string()) {
    const std::string_view text = value.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return std::nullopt;
    }
    return MergeText{text.substr(0, space), text.substr(space + 1)};
  }
  if (!value.is_array() || value.size() != 2) return std::nullopt;
  if (!value[0].is_string() || !value[1].is_string()) return std::nullopt;
  return MergeText{value[0].get_ref<const std::string&>(), value[1].get_ref<const std::string&>()};
}

}  // namespace

absl::Status ReadVocabulary(const json& root, int64_t vocab_size, TokenizerFile* file) {
  const json& vocab = Member(Member(root, "model"), "vocab");
  if (!vocab.is_object()) return TokenizerError("model.vocab must be an object");
  absl::flat_hash_set<TokenId> seen;
  file->vocabulary.reserve(vocab.size());
  for (const auto& [token, value] : vocab.items()) {
    const absl::StatusOr<TokenId> id = ReadId(value, vocab_size, "an id of model.vocab");
    if (!id.ok()) return id.status();
    if (token.empty()) return TokenizerError("model.vocab has an empty token");
    if (!seen.insert(*id).second) {
      return TokenizerError(absl::StrCat("model.vocab gives id ", *id, " to two tokens"));
    }
    file->vocabulary.emplace_back(token, *id);
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const json& root, TokenizerFile* file) {
  const json& merges = Member(Member(root, "model"), "merges");
  if (!merges.is_array()) return TokenizerError("model.merges must be a list");
  IdOfToken ids;
  for (const auto& [token, id] : file->vocabulary) ids.emplace(token, id);
  file->merges.reserve(merges.size());
  std::string merged;
  for (const json& value : merges) {
    const size_t index = file->merges.size();
    const std::optional<MergeText> text = ReadMergeText(value);
    if (!text) {
      return TokenizerError(absl::StrCat("model.merges[", index,
                                         "] must be \"left right\" or [\"left\", \"right\"]"));
    }
    merged.assign(text->left).append(text->right);
    const auto left = ids.find(text->left), right = ids.find(text->right), both = ids.find(merged);
    if (left == ids.end() || right == ids.end() || both == ids.end()) {
      return TokenizerError(
          absl::StrCat("model.merges[", index, "] needs a token that model.vocab does not have"));
    }
    file->merges.push_back({left->second, right->second, both->second});
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const json& root, int64_t vocab_size, TokenizerFile* file) {
  const json& list = Member(root, "added_tokens");
  if (list.is_null()) return absl::OkStatus();
  if (!list.is_array()) return TokenizerError("added_tokens must be a list");
  IdOfToken ids;  // of all tokens so far; the vocabulary may already hold an added token
  absl::flat_hash_map<TokenId, std::string_view> tokens;
  for (const auto& [token, id] : file->vocabulary) {
    ids.emplace(token, id);
    tokens.emplace(id, token);
  }
  file->added_tokens.reserve(list.size());  // the views into it must stay
  for (const json& entry : list) {
    const std::string where = absl::StrCat("added_tokens[", file->added_tokens.size(), "]");
    const json& content = Member(entry, "content");
    const std::optional<bool> special = Flag(entry, "special", false);
    if (!content.is_string() || content.get_ref<const std::string&>().empty() || !special) {
      return TokenizerError(where + " must have a content and may have a boolean special");
    }
    const absl::StatusOr<TokenId> id = ReadId(Member(entry, "id"), vocab_size, where + ".id");
    if (!id.ok()) return id.status();
    file->added_tokens.push_back({*id, content.get<std::string>(), *special});
    const std::string_view text = file->added_tokens.back().content;
    const bool id_fits = tokens.emplace(*id, text).first->second == text;
    const bool text_fits = ids.emplace(text, *id).first->second == *id;
    if (!id_fits) {
      return TokenizerError(absl::StrCat(where, ": id ", *id, " belongs to another token"));
    }
    if (!text_fits) return TokenizerError(where + ": the token has another id elsewhere");
  }
  return absl::OkStatus();
}

}  // namespace llavamini
