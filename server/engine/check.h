// Broken invariants of the engine end the process: going on would mix up answers.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace llavamini {

inline void Check(bool holds, const char* invariant) {
  if (holds) return;
  std::fprintf(stderr, "broken invariant: %s\n", invariant);
  std::abort();
}

}  // namespace llavamini
