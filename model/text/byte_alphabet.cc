#include "model/text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "model/text/utf8.h"

namespace llavamini {
namespace {

constexpr int kCharacters = 256 + 68;  // 68 bytes have no printable character of their own

constexpr std::array<int16_t, kCharacters> MakeByteOfCharacter() {
  std::array<int16_t, kCharacters> byte_of{};
  for (int16_t& byte : byte_of) byte = -1;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    byte_of[printable ? byte : next++] = static_cast<int16_t>(byte);
  }
  return byte_of;
}

constexpr std::array<int16_t, kCharacters> kByteOfCharacter = MakeByteOfCharacter();

}  // namespace

std::optional<std::string> BytesOfVocabularyEntry(std::string_view entry) {
  std::string bytes;
  bytes.reserve(entry.size());
  while (!entry.empty()) {
    const Utf8Unit unit = FirstUtf8Unit(entry);
    if (unit.kind != Utf8Kind::kWhole || unit.code_point >= kCharacters) return std::nullopt;
    const int16_t byte = kByteOfCharacter[unit.code_point];
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    entry.remove_prefix(unit.length);
  }
  return bytes;
}

}  // namespace llavamini
