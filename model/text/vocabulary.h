// The tokens of a byte-level BPE, laid out for lookup: id to bytes, bytes to id, pair to merge.
// Built once at load, then only read: safe from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/text/tokenizer_file.h"

namespace llavamini {

struct Merge {
  uint32_t rank = 0;  // lower is merged first
  TokenId merged = 0;
};

class Vocabulary {
 public:
  // Refuses a vocabulary that lacks the token of a single byte. Nothing that plain text can reach
  // is an added special token: neither lookup by bytes nor merges lead to one.
  static absl::StatusOr<Vocabulary> Create(const TokenizerFile& file);

  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  std::optional<TokenId> Find(std::string_view bytes) const;
  TokenId OfByte(uint8_t byte) const { return byte_ids_[byte]; }
  std::optional<Merge> FindMerge(TokenId left, TokenId right) const;
  std::optional<TokenId> Added(std::string_view token) const;

  // Any id may be asked for: unknown ones have no bytes and are not special.
  std::string_view Bytes(TokenId id) const;
  bool IsSpecial(TokenId id) const;

 private:
  struct Entry {
    uint32_t begin = 0, length = 0;  // in bytes_
    bool special = false;
  };

  Vocabulary() = default;
  void AddToken(TokenId id, std::string_view entry);
  void IndexPlainTokens(const TokenizerFile& file);

  std::vector<char> bytes_;     // of all tokens, one after the other
  std::vector<Entry> entries_;  // [largest id + 1]
  std::array<TokenId, 256> byte_ids_{};
  absl::flat_hash_map<std::string_view, TokenId> ids_;  // views into bytes_
  absl::flat_hash_map<uint64_t, Merge> merges_;         // key: left id in the upper half
  absl::flat_hash_map<std::string, TokenId> added_;
};

}  // namespace llavamini
