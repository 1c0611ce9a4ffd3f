// Pictures that are new to the server and cheap for the client: a few real files of smooth random
// content are encoded once, and each use of one carries another number in a comment of the file (a
// JPEG COM segment, a PNG tEXt chunk). The pixels stay, the bytes and so their SHA-256 differ,
// which is what the server's cache of encoded images goes by. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace llavamini::bench {

enum class PictureFormat { kJpeg, kPng };

struct PictureSize {
  int width = 336;
  int height = 336;
};

// A file with room for a stamp of kStampDigits hexadecimal digits at stamp_at.
struct StampablePicture {
  std::string bytes;
  PictureFormat format = PictureFormat::kJpeg;
  size_t stamp_at = 0;
};

inline constexpr size_t kStampDigits = 32;

// The same seed gives the same content. Sides are at least 1 and at most 16384.
StampablePicture MakePicture(PictureFormat format, PictureSize size, uint64_t seed);

// Writes (run, number) into `bytes`, a copy of `picture.bytes` that may carry an earlier stamp. The
// run keeps numbers of different runs of the program apart.
void Stamp(const StampablePicture& picture, uint64_t run, uint64_t number, std::string* bytes);

}  // namespace llavamini::bench
