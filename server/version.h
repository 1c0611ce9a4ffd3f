// The release, as CMake's project() names it.
#pragma once

namespace llavamini {

extern const char* const kVersion;

}  // namespace llavamini
