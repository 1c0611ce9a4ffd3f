#include "model/text/tokenizer.h"

#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/text/byte_pair.h"
#include "model/text/splitter.h"
#include "model/text/tokenizer_file.h"
#include "model/text/vocabulary.h"

namespace llavamini {
namespace {

constexpr uintmax_t kMaxFileBytes = 64 << 20;

class ByteLevelTokenizer final : public Tokenizer {
 public:
  ByteLevelTokenizer(Vocabulary vocabulary, Splitter splitter, bool ignore_merges)
      : vocabulary_(std::move(vocabulary)),
        splitter_(std::move(splitter)),
        ignore_merges_(ignore_merges) {}

  std::vector<TokenId> Encode(std::string_view text) const override {
    std::vector<TokenId> ids;
    BytePairMerger merger(vocabulary_);
    for (const std::string_view piece : splitter_.Split(text)) {
      const std::optional<TokenId> whole =
          ignore_merges_ ? vocabulary_.Find(piece) : std::optional<TokenId>();
      if (whole) {
        ids.push_back(*whole);
      } else {
        merger.Append(piece, &ids);
      }
    }
    return ids;
  }

  std::optional<TokenId> SpecialId(std::string_view token) const override {
    return vocabulary_.Added(token);
  }
  std::string_view Bytes(TokenId id) const override { return vocabulary_.Bytes(id); }
  bool IsSpecial(TokenId id) const override { return vocabulary_.IsSpecial(id); }

 private:
  const Vocabulary vocabulary_;
  const Splitter splitter_;
  const bool ignore_merges_;
};

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& file) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(file, error);
  if (error) return absl::NotFoundError("tokenizer.json: is missing or not a file");
  if (size > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.json: has ", size, " bytes; at most ", kMaxFileBytes));
  }
  std::string bytes(size, '\0');
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(bytes.data(), static_cast<std::streamsize>(size))) {
    return absl::UnavailableError("tokenizer.json: cannot be read");
  }
  return bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::Load(const std::filesystem::path& file,
                                                                 int64_t vocab_size) {
  const absl::StatusOr<std::string> json = ReadFile(file);
  if (!json.ok()) return json.status();
  return Parse(*json, vocab_size);
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::Parse(std::string_view json,
                                                                  int64_t vocab_size) {
  const absl::StatusOr<TokenizerFile> file = ParseTokenizerFile(json, vocab_size);
  if (!file.ok()) return file.status();
  absl::StatusOr<Vocabulary> vocabulary = Vocabulary::Create(*file);
  if (!vocabulary.ok()) return vocabulary.status();
  absl::StatusOr<Splitter> splitter = Splitter::Create(file->split_patterns);
  if (!splitter.ok()) return splitter.status();
  return std::make_unique<const ByteLevelTokenizer>(*std::move(vocabulary), *std::move(splitter),
                                                    file->ignore_merges);
}

}  // namespace llavamini
