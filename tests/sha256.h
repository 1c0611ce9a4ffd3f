// SHA-256 as the goldens write it.
#pragma once

#include <openssl/sha.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace llavamini {

// Of the bytes, in lower-case hexadecimal.
inline std::string Sha256(const std::vector<uint8_t>& bytes) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(bytes.data(), bytes.size(), digest.data());
  std::string text;
  for (const uint8_t byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace llavamini
