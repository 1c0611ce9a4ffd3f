#include "tests/model/text/golden.h"

#include <cstdint>
#include <fstream>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"

namespace llavamini {
namespace {

using nlohmann::json;

// FNV-1a, 64 bits, over the ids as 32-bit little-endian integers.
std::string Digest(const std::vector<TokenId>& ids) {
  uint64_t value = 0xCBF29CE484222325;
  for (const TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      value = (value ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 0x100000001B3;
    }
  }
  return absl::StrFormat("%016x", value);
}

Speaker SpeakerOf(const std::string& role) {
  if (role == "system") return Speaker::kSystem;
  return role == "user" ? Speaker::kUser : Speaker::kAssistant;
}

PromptTurn TurnOf(const json& turn) {
  PromptTurn result{SpeakerOf(turn[0]), {}};
  for (const json& part : turn[1]) {
    result.parts.push_back(part.is_string() ? PromptPart{false, part} : PromptPart{true, ""});
  }
  return result;
}

}  // namespace

json ReadGolden(std::string_view name) {
  std::ifstream file(LLAVAMINI_SOURCE_DIR "/tests/golden/tokenizer/" + std::string(name));
  return json::parse(file);
}

std::unique_ptr<const Tokenizer> ParseOrFail(const json& document) {
  auto tokenizer = Tokenizer::Parse(document.dump(), kSmallVocabSize);
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status();
    return nullptr;
  }
  return *std::move(tokenizer);
}

std::unique_ptr<const Tokenizer> SmallTokenizer() { return ParseOrFail(ReadGolden("small.json")); }

std::string Repeated(std::string_view unit, size_t count) {
  std::string text;
  text.reserve(unit.size() * count);
  for (size_t i = 0; i < count; ++i) text += unit;
  return text;
}

std::string BytesOf(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::string bytes;
  for (const TokenId id : ids) bytes += tokenizer.Bytes(id);
  return bytes;
}

void ExpectEncodings(const Tokenizer& tokenizer, const json& golden) {
  ASSERT_GT(golden["texts"].size(), 200u);
  ASSERT_GT(golden["runs"].size(), 20u);
  for (const json& entry : golden["texts"]) {
    const std::string text = entry["text"];
    const std::vector<TokenId> ids = tokenizer.Encode(text);
    EXPECT_EQ(ids, entry["ids"].get<std::vector<TokenId>>()) << json(text);
    EXPECT_EQ(BytesOf(tokenizer, ids), text);
  }
  for (const json& entry : golden["runs"]) {
    const std::string unit = entry["unit"], tail = entry["tail"];
    const std::vector<TokenId> ids = tokenizer.Encode(Repeated(unit, entry["count"]) + tail);
    EXPECT_EQ(ids.size(), entry["length"].get<size_t>()) << json(unit) << " + " << json(tail);
    EXPECT_EQ(Digest(ids), entry["digest"]) << json(unit) << " + " << json(tail);
  }
}

void ExpectChats(const Tokenizer& tokenizer, const json& chats) {
  const auto chat = ChatTemplate::Create(tokenizer);
  ASSERT_TRUE(chat.ok()) << chat.status();
  ASSERT_GT(chats.size(), 10u);
  for (const json& entry : chats) {
    std::vector<PromptTurn> turns;
    for (const json& turn : entry["turns"]) turns.push_back(TurnOf(turn));
    EXPECT_EQ(chat->Render(turns), entry["ids"].get<std::vector<TokenId>>()) << entry["turns"];
  }
}

}  // namespace llavamini
