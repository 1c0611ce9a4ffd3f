#include "model/checkpoint/piece_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace llavamini {
namespace {

constexpr int kEndsTooEarly = -1;

int ReadWhole(const FilePart& part, std::byte* memory) {
  // Asks the disk for all of it at once; without effect on what is in memory already.
  posix_fadvise(part.descriptor, part.offset, part.bytes, POSIX_FADV_WILLNEED);
  for (int64_t done = 0; done < part.bytes;) {
    const ssize_t read = pread(part.descriptor, memory + done,
                               static_cast<size_t>(part.bytes - done), part.offset + done);
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return errno;
    if (read == 0) return kEndsTooEarly;
    done += read;
  }
  return 0;
}

absl::Status ReadError(int error) {
  return absl::UnavailableError(absl::StrCat("the checkpoint cannot be read: ",
                                             error == kEndsTooEarly
                                                 ? "a file has become shorter"
                                                 : std::generic_category().message(error)));
}

}  // namespace

PieceReader::PieceReader(std::span<std::byte> memory, int64_t piece_bytes, int threads)
    : piece_bytes_(piece_bytes), slots_(memory.size() / static_cast<size_t>(piece_bytes)) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].memory = memory.data() + i * static_cast<size_t>(piece_bytes);
  }
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

PieceReader::~PieceReader() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void PieceReader::Work() {
  while (true) {
    size_t buffer = 0;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &PieceReader::HasWork));
      if (stop_) return;
      buffer = queue_.front();
      queue_.pop_front();
    }
    Slot& slot = slots_[buffer];
    slot.error = ReadWhole(slot.part, slot.memory);
    absl::MutexLock lock(&mutex_);
    slot.arrived = true;
  }
}

void PieceReader::Submit(size_t buffer, const FilePart& part) {
  absl::MutexLock lock(&mutex_);
  slots_[buffer].part = part;
  slots_[buffer].arrived = false;
  queue_.push_back(buffer);
}

int PieceReader::Await(size_t buffer) {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&slots_[buffer].arrived));
  return slots_[buffer].error;
}

absl::Status PieceReader::Read(const FilePart& part,
                               const std::function<void(size_t buffer)>& wait_until_free,
                               const std::function<void(const Piece& piece)>& take) {
  const int64_t count = (part.bytes + piece_bytes_ - 1) / piece_bytes_;
  const auto ring = static_cast<int64_t>(slots_.size());
  const auto buffer_of = [&](int64_t piece) {
    return (next_ + static_cast<size_t>(piece)) % slots_.size();
  };
  int64_t submitted = 0, taken = 0;
  // However this ends, no thread writes to a buffer afterwards.
  const absl::Cleanup wait_for_the_rest = [&] {
    while (taken < submitted) Await(buffer_of(taken++));
    next_ = buffer_of(submitted);
  };
  while (taken < count) {
    for (; submitted < std::min(count, taken + ring); ++submitted) {
      const int64_t begin = submitted * piece_bytes_;
      wait_until_free(buffer_of(submitted));
      Submit(buffer_of(submitted),
             {part.descriptor, part.offset + begin, std::min(piece_bytes_, part.bytes - begin)});
    }
    const size_t buffer = buffer_of(taken);
    if (const int error = Await(buffer); error != 0) return ReadError(error);
    const Slot& slot = slots_[buffer];
    take({buffer, taken * piece_bytes_, {slot.memory, static_cast<size_t>(slot.part.bytes)}});
    ++taken;
  }
  return absl::OkStatus();
}

}  // namespace llavamini
