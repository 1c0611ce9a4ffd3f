#include "model/text/tokenizer_file.h"

#include "absl/strings/str_cat.h"
#include "model/text/tokenizer_json.h"

namespace llavamini {
namespace {

using nlohmann::json;

constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
constexpr std::string_view kOnly = "; only byte-level BPE is supported";
// What a ByteLevel pre-tokenizer splits by when it has no other.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

absl::Status Unsupported(std::string_view key, const json& type) {
  const std::string name(key);
  if (type.is_null()) return TokenizerError(absl::StrCat(name, " is missing", std::string(kOnly)));
  return TokenizerError(absl::StrCat(name, " is ", Word(type), std::string(kOnly)));
}

bool IsAbsentOrEmpty(const json& value) {
  return value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty());
}

absl::Status CheckModel(const json& root, TokenizerFile* file) {
  const json& model = Member(root, "model");
  if (!model.is_object()) return TokenizerError("model must be an object");
  // Older files name no type; they are BPE if they have merges.
  const json& type = Member(model, "type");
  if (type != "BPE" && !(type.is_null() && model.contains("merges"))) {
    return Unsupported("model.type", type);
  }
  const std::optional<bool> byte_fallback = Flag(model, "byte_fallback", false);
  const std::optional<bool> ignore_merges = Flag(model, "ignore_merges", false);
  if (!byte_fallback) return TokenizerError("model.byte_fallback must be a boolean");
  if (!ignore_merges) return TokenizerError("model.ignore_merges must be a boolean");
  if (*byte_fallback) {
    return TokenizerError("model.byte_fallback is true (SentencePiece)" + std::string(kOnly));
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!IsAbsentOrEmpty(Member(model, key))) {
      return TokenizerError(absl::StrCat("model.", key, " must be null or empty"));
    }
  }
  if (const json& dropout = Member(model, "dropout"); !dropout.is_null() && dropout != 0) {
    return TokenizerError("model.dropout must be null");
  }
  file->ignore_merges = *ignore_merges;
  return absl::OkStatus();
}

absl::Status ReadSplit(const json& split, TokenizerFile* file) {
  const json& regex = Member(Member(split, "pattern"), "Regex");
  if (!regex.is_string()) {
    return TokenizerError("pre_tokenizer: Split.pattern must have a string Regex");
  }
  if (const json& behavior = Member(split, "behavior"); behavior != "Isolated") {
    return TokenizerError("pre_tokenizer: Split.behavior is " + Word(behavior) +
                          "; only Isolated is supported");
  }
  if (Flag(split, "invert", false) != false) {
    return TokenizerError("pre_tokenizer: Split.invert must be false");
  }
  file->split_patterns.push_back(regex.get<std::string>());
  return absl::OkStatus();
}

absl::Status ReadByteLevel(const json& byte_level, TokenizerFile* file) {
  if (Flag(byte_level, "add_prefix_space", true) != false) {
    return TokenizerError("pre_tokenizer: ByteLevel.add_prefix_space must be false");
  }
  const std::optional<bool> use_regex = Flag(byte_level, "use_regex", true);
  if (!use_regex) return TokenizerError("pre_tokenizer: ByteLevel.use_regex must be a boolean");
  if (*use_regex) file->split_patterns.emplace_back(kGpt2Pattern);
  return absl::OkStatus();
}

// ByteLevel alone, or a Sequence of Splits with ByteLevel at its end.
absl::Status ReadPreTokenizer(const json& pre_tokenizer, TokenizerFile* file) {
  const json& type = Member(pre_tokenizer, "type");
  if (type == "ByteLevel") return ReadByteLevel(pre_tokenizer, file);
  if (type != "Sequence") return Unsupported("pre_tokenizer.type", type);
  const json& steps = Member(pre_tokenizer, "pretokenizers");
  if (!steps.is_array() || steps.empty() || Member(steps.back(), "type") != "ByteLevel") {
    return TokenizerError("pre_tokenizer.pretokenizers must be a list that ends with ByteLevel");
  }
  for (size_t i = 0; i + 1 < steps.size(); ++i) {
    const json& step = Member(steps[i], "type");
    if (step != "Split") {
      return Unsupported(absl::StrCat("pre_tokenizer.pretokenizers[", i, "].type"), step);
    }
    if (absl::Status status = ReadSplit(steps[i], file); !status.ok()) return status;
  }
  return ReadByteLevel(steps.back(), file);
}

absl::Status CheckAround(const json& root) {
  if (const json& normalizer = Member(root, "normalizer"); !normalizer.is_null()) {
    return TokenizerError("normalizer is " + Word(Member(normalizer, "type")) +
                          "; only null is supported");
  }
  const json& decoder = Member(Member(root, "decoder"), "type");
  if (decoder != "ByteLevel") return Unsupported("decoder.type", decoder);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerFile> ParseTokenizerFile(std::string_view text, int64_t vocab_size) {
  if (vocab_size < 1 || vocab_size > kMaxVocabSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_size is ", vocab_size, "; must be 1..", kMaxVocabSize));
  }
  const absl::StatusOr<json> root = ParseTokenizerJson(text);
  if (!root.ok()) return root.status();
  TokenizerFile file;
  absl::Status status = CheckModel(*root, &file);
  if (status.ok()) status = ReadPreTokenizer(Member(*root, "pre_tokenizer"), &file);
  if (status.ok()) status = CheckAround(*root);
  if (status.ok()) status = ReadVocabulary(*root, vocab_size, &file);
  if (status.ok()) status = ReadMerges(*root, &file);
  if (status.ok()) status = ReadAddedTokens(*root, vocab_size, &file);
  if (!status.ok()) return status;
  return file;
}

}  // namespace llavamini
