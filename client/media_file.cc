#include "client/media_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace llavamini::client {
namespace {

absl::Status TooLarge(const std::string& path) {
  return absl::ResourceExhaustedError(
      absl::StrCat(path, ": larger than ", kMaxFileBytes >> 20, " MiB"));
}

}  // namespace

absl::StatusOr<std::string> ReadMediaFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return absl::ErrnoToStatus(errno, path);
  const absl::Cleanup close_file = [file] { close(file); };
  struct stat facts = {};
  if (fstat(file, &facts) != 0) return absl::ErrnoToStatus(errno, path);
  if (S_ISDIR(facts.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": is a folder"));
  }
  if (facts.st_size > kMaxFileBytes) return TooLarge(path);

  std::string bytes;
  size_t filled = 0;
  while (true) {  // a pipe has no size: grow until the end, or past the limit
    bytes.resize(std::max<size_t>(filled + (64 << 10), static_cast<size_t>(facts.st_size) + 1));
    const ssize_t count = read(file, bytes.data() + filled, bytes.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, path);
    if (count == 0) break;
    filled += static_cast<size_t>(count);
    if (filled > static_cast<size_t>(kMaxFileBytes)) return TooLarge(path);
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace llavamini::client
