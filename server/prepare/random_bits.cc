#include "server/prepare/random_bits.h"

#include <openssl/rand.h>

#include <cstdlib>

#include "absl/strings/str_format.h"

namespace llavamini {

uint64_t RandomSeed() {
  uint64_t bits = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&bits), sizeof bits) != 1) std::abort();
  return bits;
}

std::string RandomName() { return absl::StrFormat("%016x", RandomSeed()); }

}  // namespace llavamini
