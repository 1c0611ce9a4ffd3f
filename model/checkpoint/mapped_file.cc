#include "model/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "model/checkpoint/error_text.h"

namespace llavamini {
namespace {

std::string SystemError(int error) { return std::generic_category().message(error); }

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a named pipe must not wait for its writer.
  MappedFile file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK), {});
  if (file.descriptor_ < 0) {
    return BadCheckpoint(path.string(), ": cannot be opened: ", SystemError(errno));
  }
  struct stat facts = {};
  if (fstat(file.descriptor_, &facts) != 0) {
    return BadCheckpoint(path.string(), ": cannot be read: ", SystemError(errno));
  }
  if (!S_ISREG(facts.st_mode)) return BadCheckpoint(path.string(), ": is not a regular file");
  if (facts.st_size == 0) return file;
  const auto size = static_cast<size_t>(facts.st_size);
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor_, 0);
  if (address == MAP_FAILED) {
    return BadCheckpoint(path.string(), ": cannot be mapped: ", SystemError(errno));
  }
  madvise(address, size, MADV_SEQUENTIAL);
  file.bytes_ = {static_cast<const std::byte*>(address), size};
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (descriptor_ >= 0) close(descriptor_);
}

absl::StatusOr<std::string> ReadSmallFile(const std::filesystem::path& path, size_t limit) {
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  const std::span<const std::byte> bytes = file->bytes();
  if (bytes.size() > limit) {
    return BadCheckpoint(path.string(), ": has ", bytes.size(), " bytes, allowed are at most ",
                         limit);
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace llavamini
