// Files that must be refused, each with what the one line of error says.
#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer.h"
#include "tests/model/text/golden.h"

namespace llavamini {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

void ExpectRefused(std::string_view text, std::string_view error,
                   int64_t vocab_size = kSmallVocabSize) {
  const auto tokenizer = Tokenizer::Parse(text, vocab_size);
  ASSERT_FALSE(tokenizer.ok()) << error;
  const std::string message(tokenizer.status().message());
  EXPECT_THAT(message, HasSubstr(std::string(error)));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  EXPECT_LT(message.size(), 200u);
}

struct BrokenText {
  std::string text, error;
};

TEST(TokenizerFile, RefusesWhatIsNotItsJson) {
  const std::vector<BrokenText> cases = {
      {"", "not valid JSON (byte 1)"},
      {"{", "not valid JSON (byte 2)"},
      {"{} {}", "not valid JSON"},
      {R"({"model": "secret})", "not valid JSON"},
      {"{\"a\": \"\xFF\"}", "not valid JSON"},
      {R"({"a": "\ud800"})", "not valid JSON"},
      {R"({"a": 1e999})", "not valid JSON (a number is out of range)"},
      {"[]", "must be an object"},
      {"null", "must be an object"},
      {"{}", "model must be an object"},
      {R"({"model": {}, "model": {}})", "a key is given twice"},
      {R"({"model": {"vocab": {"a": 0, "a": 1}}})", "a key is given twice"},
      {std::string(1'000'000, '['), "not valid JSON"},
      {std::string(100'000, '[') + std::string(100'000, ']'), "nested deeper than 32"},
      {R"({"x": )" + Repeated(R"({"a":)", 100'000) + "1" + std::string(100'001, '}'),
       "nested deeper than 32"},
  };
  for (const BrokenText& each : cases) ExpectRefused(each.text, each.error);
}

struct BrokenFile {
  std::function<void(json&)> change;
  std::string error;
};

const std::vector<BrokenFile>& OfAnotherKind() {
  static const std::vector<BrokenFile> cases = {
      {[](json& d) { d["model"]["type"] = "Unigram"; },
       "model.type is Unigram; only byte-level BPE"},
      {[](json& d) { d["model"]["type"] = "WordPiece"; }, "model.type is WordPiece"},
      {[](json& d) { d["model"]["type"] = "x\ny"; }, "model.type is of an unknown kind"},
      {[](json& d) { d["model"]["type"] = 7; }, "model.type is of an unknown kind"},
      {[](json& d) { d["model"].erase("type"), d["model"].erase("merges"); },
       "model.type is missing"},
      {[](json& d) { d["model"] = json::array(); }, "model must be an object"},
      {[](json& d) { d["model"]["byte_fallback"] = true; },
       "model.byte_fallback is true (SentencePiece)"},
      {[](json& d) { d["model"]["byte_fallback"] = "no"; },
       "model.byte_fallback must be a boolean"},
      {[](json& d) { d["model"]["ignore_merges"] = 1; }, "model.ignore_merges must be a boolean"},
      {[](json& d) { d["model"]["end_of_word_suffix"] = "</w>"; },
       "model.end_of_word_suffix must be"},
      {[](json& d) { d["model"]["continuing_subword_prefix"] = "##"; },
       "continuing_subword_prefix must be"},
      {[](json& d) { d["model"]["dropout"] = 0.1; }, "model.dropout must be null"},
      {[](json& d) {
         d["normalizer"] = {{"type", "NFC"}};
       },
       "normalizer is NFC; only null"},
      {[](json& d) { d["normalizer"] = "NFC"; }, "normalizer is of an unknown kind"},
      {[](json& d) { d["decoder"] = nullptr; }, "decoder.type is missing"},
      {[](json& d) { d["decoder"]["type"] = "WordPiece"; }, "decoder.type is WordPiece"},
      {[](json& d) { d["pre_tokenizer"] = nullptr; }, "pre_tokenizer.type is missing"},
      {[](json& d) {
         d["pre_tokenizer"] = {{"type", "Metaspace"}};
       },
       "pre_tokenizer.type is Metaspace"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"] = json::array(); },
       "a list that ends with ByteLevel"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"].erase(1); },
       "a list that ends with ByteLevel"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"] = 3; }, "a list that ends with ByteLevel"},
      {[](json& d) {
         d["pre_tokenizer"]["pretokenizers"][0] = {{"type", "Digits"}};
       },
       "pre_tokenizer.pretokenizers[0].type is Digits"},
      {[](json& d) {
         d["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"String", " "}};
       },
       "Split.pattern must have a string Regex"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; },
       "Split.pattern is not a valid pattern"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; },
       "Split.behavior is Removed"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; },
       "Split.invert must be false"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; },
       "ByteLevel.add_prefix_space must be false"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = 1; },
       "ByteLevel.use_regex must be a boolean"},
  };
  return cases;
}

json Added(json id, json content) {
  return {{"id", std::move(id)}, {"content", std::move(content)}, {"special", true}};
}

const std::vector<BrokenFile>& WithBrokenTokens() {
  static const std::vector<BrokenFile> cases = {
      {[](json& d) { d["model"]["vocab"] = json::array(); }, "model.vocab must be an object"},
      {[](json& d) { d["model"].erase("vocab"); }, "model.vocab must be an object"},
      {[](json& d) { d["model"]["vocab"]["zq"] = 2000; },
       "is outside 0..1999 (the model's vocab_size is 2000)"},
      {[](json& d) { d["model"]["vocab"]["zq"] = -1; }, "an id of model.vocab is outside 0..1999"},
      {[](json& d) { d["model"]["vocab"]["zq"] = 18446744073709551615u; }, "is outside 0..1999"},
      {[](json& d) { d["model"]["vocab"]["zq"] = 1.5; }, "an id of model.vocab must be an integer"},
      {[](json& d) { d["model"]["vocab"]["zq"] = "7"; }, "an id of model.vocab must be an integer"},
      {[](json& d) { d["model"]["vocab"]["zq"] = 7; }, "model.vocab gives id 7 to two tokens"},
      {[](json& d) { d["model"]["vocab"][""] = 1700; }, "model.vocab has an empty token"},
      {[](json& d) { d["model"]["vocab"].erase("\u0120"), d["model"]["merges"] = json::array(); },
       "model.vocab has no token for byte 0x20"},
      {[](json& d) { d["model"]["merges"] = {}; }, "model.merges must be a list"},
      {[](json& d) { d["model"]["merges"][3] = "ab"; }, "model.merges[3] must be"},
      {[](json& d) { d["model"]["merges"][3] = "a b c"; }, "model.merges[3] must be"},
      {[](json& d) {
         d["model"]["merges"][3] = {"a", "b", "c"};
       },
       "model.merges[3] must be"},
      {[](json& d) {
         d["model"]["merges"][3] = {"a", 1};
       },
       "model.merges[3] must be"},
      {[](json& d) { d["model"]["merges"][3] = 5; }, "model.merges[3] must be"},
      {[](json& d) {
         d["model"]["merges"][3] = {"zzzz", "a"};
       },
       "model.merges[3] needs a token that model.vocab"},
      {[](json& d) {
         d["model"]["merges"][3] = {"a", "zzzz"};
       },
       "model.merges[3] needs a token that model.vocab"},
      {[](json& d) {
         d["model"]["merges"][3] = {"z", "q"};
       },
       "model.merges[3] needs a token that model.vocab"},
      {[](json& d) { d["added_tokens"] = json::object(); }, "added_tokens must be a list"},
      {[](json& d) { d["added_tokens"][0] = 1; }, "added_tokens[0] must have a content"},
      {[](json& d) { d["added_tokens"][1].erase("content"); },
       "added_tokens[1] must have a content"},
      {[](json& d) { d["added_tokens"][1]["content"] = ""; },
       "added_tokens[1] must have a content"},
      {[](json& d) { d["added_tokens"][1]["special"] = "yes"; },
       "added_tokens[1] must have a content"},
      {[](json& d) { d["added_tokens"][1].erase("id"); }, "added_tokens[1].id must be an integer"},
      {[](json& d) { d["added_tokens"][1]["id"] = 2000; }, "added_tokens[1].id is outside 0..1999"},
      {[](json& d) { d["added_tokens"][1]["id"] = -1; }, "added_tokens[1].id is outside 0..1999"},
      {[](json& d) { d["added_tokens"].push_back(Added(0, "<new>")); },
       "id 0 belongs to another token"},
      {[](json& d) { d["added_tokens"].push_back(Added(1800, "<|eot_id|>")); },
       "has another id elsewhere"},
      {[](json& d) { d["added_tokens"].push_back(Added(1800, "a")); }, "has another id elsewhere"},
  };
  return cases;
}

TEST(TokenizerFile, RefusesOtherKindsByName) {
  for (const BrokenFile& each : OfAnotherKind()) {
    json document = ReadGolden("small.json");
    each.change(document);
    ExpectRefused(document.dump(), each.error);
  }
}

TEST(TokenizerFile, RefusesBrokenTokens) {
  for (const BrokenFile& each : WithBrokenTokens()) {
    json document = ReadGolden("small.json");
    each.change(document);
    ExpectRefused(document.dump(), each.error);
  }
}

TEST(TokenizerFile, RefusesAnImpossibleVocabSize) {
  const std::string text = ReadGolden("small.json").dump();
  for (const int64_t size : {int64_t{0}, int64_t{-5}, int64_t{1} << 40}) {
    ExpectRefused(text, "vocab_size is ", size);
  }
  ExpectRefused(text, "is outside 0..299", 300);
}

TEST(TokenizerFile, IsReadWholeOrRefusedWhereverItIsCut) {
  const std::string text = ReadGolden("small.json").dump();
  for (size_t length = 0; length < text.size(); length += 997) {
    EXPECT_FALSE(Tokenizer::Parse(std::string_view(text).substr(0, length), kSmallVocabSize).ok());
  }
}

// Whatever a changed byte makes of the file, reading and using it ends well.
TEST(TokenizerFile, SurvivesChangedBytes) {
  const std::string text = ReadGolden("small.json").dump();
  for (size_t place = 3; place < text.size(); place += 211) {
    std::string changed = text;
    changed[place] = static_cast<char>(changed[place] ^ (1 << place % 7));
    const auto tokenizer = Tokenizer::Parse(changed, kSmallVocabSize);
    if (tokenizer.ok()) {
      EXPECT_EQ(BytesOf(**tokenizer, (*tokenizer)->Encode("it's a b12")).empty(), false);
    } else {
      EXPECT_THAT(std::string(tokenizer.status().message()), StartsWith("tokenizer.json: "));
    }
  }
}

TEST(TokenizerFile, AcceptsWhatDoesNotMatter) {
  json document = ReadGolden("small.json");
  document["model"].erase("type");
  document["model"].erase("byte_fallback");
  document["truncation"] = {{"max_length", 5}};
  document["post_processor"] = {{"type", "Anything"}};
  document["added_tokens"][0].erase("special");
  EXPECT_NE(ParseOrFail(document), nullptr);
}

}  // namespace
}  // namespace llavamini
