#include "server/version.h"

namespace llavamini {

const char* const kVersion = LLAVAMINI_VERSION;

}  // namespace llavamini
