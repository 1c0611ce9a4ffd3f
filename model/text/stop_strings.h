// Finds the end that a caller's stop strings put to an answer. Used by the engine once per token;
// one per sequence, no locking.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace llavamini {

// Releases text as soon as it can no longer be part of a stop string. The first stop string to be
// complete ends the answer (the longest of those that end together), in whatever pieces the text
// arrives; it and all after it are left out. Time is linear in the text's length times the number
// of stop strings; less than the longest stop string is held back.
class StopStrings {
 public:
  // Empty strings are ignored: they would stop every answer before it begins.
  explicit StopStrings(std::vector<std::string> stops);

  struct Result {
    std::string text;      // released now
    bool stopped = false;  // a stop string was found: `text` is the last of the answer
  };

  // After stopped, further text is dropped (and reported as stopped).
  Result Push(std::string_view text);

  // What is still held back, at the end of an answer that no stop string ended.
  std::string Flush();

 private:
  // A stop string and how many of its first bytes the text ends with.
  struct Matcher {
    std::string stop;
    std::vector<size_t>
        border;  // [i]: longest proper border of the first i + 1 bytes (Knuth, Morris, Pratt)
    size_t matched = 0;
  };

  // Takes one byte into every matcher; the length of the longest stop string that is now complete,
  // or 0.
  size_t Advance(char byte);

  std::vector<Matcher> matchers_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace llavamini
