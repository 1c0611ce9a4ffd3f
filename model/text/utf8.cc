#include "model/text/utf8.h"

#include <cstdint>

namespace llavamini {
namespace {

// What may follow a lead byte: how many continuation bytes, and the range of the first of them.
struct Lead {
  size_t continuations;
  uint8_t low, high;
};

bool FindLead(uint8_t byte, Lead* lead) {
  *lead = {0, 0x80, 0xBF};
  if (byte < 0xC2 || byte > 0xF4) return false;
  lead->continuations = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  if (byte == 0xE0) lead->low = 0xA0;   // shorter forms exist
  if (byte == 0xED) lead->high = 0x9F;  // surrogates
  if (byte == 0xF0) lead->low = 0x90;   // shorter forms exist
  if (byte == 0xF4) lead->high = 0x8F;  // above U+10FFFF
  return true;
}

// str.isspace() of Python.
bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

}  // namespace

Utf8Unit FirstUtf8Unit(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(0) < 0x80) return {Utf8Kind::kWhole, 1, byte(0)};
  Lead lead;
  if (!FindLead(byte(0), &lead)) return {Utf8Kind::kInvalid, 1, 0};
  char32_t code_point = byte(0) & (0x3Fu >> lead.continuations);
  for (size_t i = 1; i <= lead.continuations; ++i) {
    if (i == text.size()) return {Utf8Kind::kCut, i, 0};
    if (byte(i) < lead.low || byte(i) > lead.high) return {Utf8Kind::kInvalid, i, 0};
    code_point = code_point << 6 | (byte(i) & 0x3Fu);
    lead.low = 0x80;
    lead.high = 0xBF;
  }
  return {Utf8Kind::kWhole, lead.continuations + 1, code_point};
}

std::string_view StripLeadingWhiteSpace(std::string_view text) {
  while (!text.empty()) {
    const Utf8Unit unit = FirstUtf8Unit(text);
    if (unit.kind != Utf8Kind::kWhole || !IsWhiteSpace(unit.code_point)) break;
    text.remove_prefix(unit.length);
  }
  return text;
}

std::string_view StripTrailingWhiteSpace(std::string_view text) {
  while (!text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && text.size() - begin < 4 &&
           (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) {
      --begin;
    }
    const Utf8Unit unit = FirstUtf8Unit(text.substr(begin));
    if (unit.kind != Utf8Kind::kWhole || begin + unit.length != text.size() ||
        !IsWhiteSpace(unit.code_point)) {
      break;
    }
    text.remove_suffix(unit.length);
  }
  return text;
}

}  // namespace llavamini
