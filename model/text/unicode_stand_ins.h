// Characters that the Unicode tables of an older PCRE2 do not have yet. Pure.
#pragma once

#include <string>
#include <string_view>

namespace llavamini {

// The text (well-formed UTF-8) with every character that came with Unicode 15 or 16 replaced by an
// older one of the same general category and the same length in bytes: for splitting only, so that
// a piece ends where Hugging Face's tokenizers 0.23 (Oniguruma, Unicode 16) has it, whatever
// Unicode the PCRE2 of the machine knows.
std::string ReplaceNewCharacters(std::string_view text);

}  // namespace llavamini
