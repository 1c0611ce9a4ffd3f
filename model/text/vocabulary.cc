#include "model/text/vocabulary.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "model/text/byte_alphabet.h"
#include "model/text/tokenizer_json.h"

namespace llavamini {
namespace {

uint64_t PairKey(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

TokenId LargestId(const TokenizerFile& file) {
  TokenId largest = 0;
  for (const auto& [token, id] : file.vocabulary) largest = std::max(largest, id);
  for (const AddedToken& token : file.added_tokens) largest = std::max(largest, token.id);
  return largest;
}

}  // namespace

absl::StatusOr<Vocabulary> Vocabulary::Create(const TokenizerFile& file) {
  Vocabulary vocabulary;
  vocabulary.entries_.resize(static_cast<size_t>(LargestId(file)) + 1);
  for (const auto& [token, id] : file.vocabulary) vocabulary.AddToken(id, token);
  for (const AddedToken& token : file.added_tokens) {
    vocabulary.added_.emplace(token.content, token.id);
    if (token.special) {
      vocabulary.entries_[token.id] = {0, 0, true};
    } else {
      vocabulary.AddToken(token.id, token.content);
    }
  }
  vocabulary.IndexPlainTokens(file);
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    const std::optional<TokenId> id = vocabulary.Find({&text, 1});
    if (!id)
      return TokenizerError(absl::StrFormat("model.vocab has no token for byte 0x%02X", byte));
    vocabulary.byte_ids_[byte] = *id;
  }
  return vocabulary;
}

void Vocabulary::AddToken(TokenId id, std::string_view entry) {
  const std::string bytes = BytesOfVocabularyEntry(entry).value_or(std::string(entry));
  entries_[id] = {static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(bytes.size()), false};
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

void Vocabulary::IndexPlainTokens(const TokenizerFile& file) {
  ids_.reserve(file.vocabulary.size());
  for (const auto& [token, id] : file.vocabulary) {
    if (!entries_[id].special && BytesOfVocabularyEntry(token)) ids_.emplace(Bytes(id), id);
  }
  merges_.reserve(file.merges.size());
  for (size_t rank = 0; rank < file.merges.size(); ++rank) {
    const MergeRule& rule = file.merges[rank];
    if (entries_[rule.merged].special) continue;
    merges_[PairKey(rule.left, rule.right)] = {static_cast<uint32_t>(rank), rule.merged};
  }
}

std::optional<TokenId> Vocabulary::Find(std::string_view bytes) const {
  const auto found = ids_.find(bytes);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::optional<Merge> Vocabulary::FindMerge(TokenId left, TokenId right) const {
  const auto found = merges_.find(PairKey(left, right));
  if (found == merges_.end()) return std::nullopt;
  return found->second;
}

std::optional<TokenId> Vocabulary::Added(std::string_view token) const {
  const auto found = added_.find(absl::string_view(token.data(), token.size()));
  if (found == added_.end()) return std::nullopt;
  return found->second;
}

std::string_view Vocabulary::Bytes(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= entries_.size()) return {};
  const Entry& entry = entries_[id];
  return {bytes_.data() + entry.begin, entry.length};
}

bool Vocabulary::IsSpecial(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < entries_.size() && entries_[id].special;
}

}  // namespace llavamini
