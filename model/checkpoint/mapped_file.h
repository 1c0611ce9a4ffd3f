// Files of a checkpoint folder: mapped read-only, or read whole when small. Only regular files are
// opened. Used by one thread, at load time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace llavamini {

// Bytes of an open file.
struct FilePart {
  int descriptor = -1;
  int64_t offset = 0;
  int64_t bytes = 0;
};

// A whole file in memory as the kernel pages it in; unmapped by the destructor. The file must not
// be cut while it is mapped: a checkpoint is replaced by another folder, never edited in place.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  // For reading the same file by offset; closed by the destructor.
  int descriptor() const { return descriptor_; }

 private:
  MappedFile(int descriptor, std::span<const std::byte> bytes)
      : descriptor_(descriptor), bytes_(bytes) {}

  int descriptor_ = -1;
  std::span<const std::byte> bytes_;  // empty for an empty file, which is not mapped
};

// The content of a file of at most `limit` bytes.
absl::StatusOr<std::string> ReadSmallFile(const std::filesystem::path& path, size_t limit);

}  // namespace llavamini
