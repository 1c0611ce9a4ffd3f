// Turns the bytes of generated tokens into text: only whole UTF-8 characters leave it. Used by the
// engine once per token; one per sequence, no locking.
#pragma once

#include <string>
#include <string_view>

namespace llavamini {

// Bytes that cannot be UTF-8 become U+FFFD as Python's bytes.decode(errors="replace") has it: one
// for each maximal part of a character.
class Utf8Stream {
 public:
  // The characters that are complete after `bytes`; the start of an incomplete one (at most 3
  // bytes) is held back.
  std::string Push(std::string_view bytes);

  // What is held back, as U+FFFD (at most one); empty if nothing is. The stream is then as new.
  std::string Flush();

 private:
  std::string held_;
};

}  // namespace llavamini
