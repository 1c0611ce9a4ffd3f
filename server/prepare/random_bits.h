// Unpredictable bits for names and seeds that a caller left to the server. Safe from any thread.
#pragma once

#include <cstdint>
#include <string>

namespace llavamini {

uint64_t RandomSeed();

// 16 hexadecimal digits.
std::string RandomName();

}  // namespace llavamini
