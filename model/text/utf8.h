// UTF-8 as the other files of this folder need it: where a character ends, what is no character,
// what is white space.
#pragma once

#include <cstddef>
#include <string_view>

namespace llavamini {

enum class Utf8Kind {
  kWhole,    // a whole character
  kCut,      // the text ends inside a character that may still become whole
  kInvalid,  // no character begins with these bytes
};

// The first bytes of a text. kInvalid: the longest start of a well-formed character (at least one
// byte), as the Unicode standard, table 3-7, and Python's decoder count it.
struct Utf8Unit {
  Utf8Kind kind = Utf8Kind::kWhole;
  size_t length = 0;        // bytes, at least 1
  char32_t code_point = 0;  // when kWhole
};

// `text` must not be empty.
Utf8Unit FirstUtf8Unit(std::string_view text);

// Without the white space at both ends that Python's str.strip() takes off.
std::string_view StripLeadingWhiteSpace(std::string_view text);
std::string_view StripTrailingWhiteSpace(std::string_view text);

}  // namespace llavamini
