#include "server/media/video_container.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"

namespace llavamini {
namespace {

constexpr std::string_view kEbml = "\x1A\x45\xDF\xA3";
constexpr std::string_view kSegment = "\x18\x53\x80\x67";
constexpr uint64_t kUnknownLength = ~uint64_t{0};

uint64_t BigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

bool IsBoxName(std::string_view name) {
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isprint(static_cast<unsigned char>(c)); });
}

// The boxes one after the other; bytes after the last that are no box are ignored.
bool IsMovCutOff(std::string_view bytes) {
  while (bytes.size() >= 8 && IsBoxName(bytes.substr(4, 4))) {
    uint64_t length = BigEndian(bytes.substr(0, 4));
    if (length == 0) return false;  // to the end of the file
    if (length == 1) {
      if (bytes.size() < 16) return true;
      length = BigEndian(bytes.substr(8, 8));
    }
    if (length > bytes.size()) return true;
    if (length < 8) return false;
    bytes.remove_prefix(length);
  }
  return false;
}

// Removes an EBML length from the front. Empty when it is cut off or no length.
std::optional<uint64_t> TakeEbmlLength(std::string_view& bytes) {
  if (bytes.empty() || bytes[0] == 0) return std::nullopt;
  size_t width = 1;
  while ((static_cast<uint8_t>(bytes[0]) & (0x80 >> (width - 1))) == 0) ++width;
  if (bytes.size() < width) return std::nullopt;
  const uint64_t mask = (uint64_t{1} << (7 * width)) - 1;
  const uint64_t length = BigEndian(bytes.substr(0, width)) & mask;
  bytes.remove_prefix(width);
  return length == mask ? kUnknownLength : length;
}

bool IsMatroskaCutOff(std::string_view bytes) {
  bytes.remove_prefix(kEbml.size());
  const std::optional<uint64_t> header = TakeEbmlLength(bytes);
  if (!header || *header > bytes.size()) return true;
  bytes.remove_prefix(*header);
  if (bytes.substr(0, kSegment.size()) != kSegment) return bytes.size() < kSegment.size();
  bytes.remove_prefix(kSegment.size());
  const std::optional<uint64_t> segment = TakeEbmlLength(bytes);
  return !segment || (*segment != kUnknownLength && *segment > bytes.size());
}

bool IsAviCutOff(std::string_view bytes) {
  uint64_t length = 0;
  for (size_t i = 8; i-- > 4;) length = length << 8 | static_cast<uint8_t>(bytes[i]);
  return length != 0xFFFFFFFF && length > bytes.size() - 8;
}

}  // namespace

std::optional<VideoContainer> VideoContainerOf(std::string_view bytes) {
  if (bytes.substr(0, kEbml.size()) == kEbml) return VideoContainer::kMatroska;
  if (bytes.size() < 12) return std::nullopt;
  if (bytes.substr(0, 4) == "RIFF" && bytes.substr(8, 4) == "AVI ") return VideoContainer::kAvi;
  const std::string_view box = bytes.substr(4, 4);
  for (const std::string_view first : {"ftyp", "moov", "mdat", "wide", "free", "skip"}) {
    if (box == first) return VideoContainer::kMov;
  }
  return std::nullopt;
}

bool IsCutOff(std::string_view bytes, VideoContainer container) {
  switch (container) {
    case VideoContainer::kMov:
      return IsMovCutOff(bytes);
    case VideoContainer::kMatroska:
      return IsMatroskaCutOff(bytes);
    case VideoContainer::kAvi:
      return IsAviCutOff(bytes);
  }
  return false;
}

}  // namespace llavamini
