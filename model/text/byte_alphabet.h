// The printable alphabet in which byte-level BPE vocabularies write bytes (GPT-2's). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace llavamini {

// The bytes that a vocabulary entry (well-formed UTF-8) stands for; none if one of its characters
// is not in the alphabet. Bytes 33..126, 161..172 and 174..255 are written as the character of that
// number, the others, in order, as U+0100 on.
std::optional<std::string> BytesOfVocabularyEntry(std::string_view entry);

}  // namespace llavamini
