// Reads parts of files with several threads into a ring of buffers, faster than one thread's page
// faults would: a checkpoint's way to a GPU. One caller, at load time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "model/checkpoint/mapped_file.h"

namespace llavamini {

// A part's bytes from `begin` on, in the ring's buffer of this number.
struct Piece {
  size_t buffer = 0;
  int64_t begin = 0;
  std::span<const std::byte> bytes;
};

class PieceReader {
 public:
  // `memory` outlives the reader and is a whole number of pieces, which are its buffers.
  PieceReader(std::span<std::byte> memory, int64_t piece_bytes, int threads);
  PieceReader(const PieceReader&) = delete;
  PieceReader& operator=(const PieceReader&) = delete;
  ~PieceReader();

  size_t buffers() const { return slots_.size(); }

  // Hands a part's pieces over in order; all but the last are of piece_bytes. `take` may go on
  // using a piece after it returns: `wait_until_free` is called before its buffer is written again,
  // in this call or a later one. UNAVAILABLE when the file cannot be read or is too short.
  absl::Status Read(const FilePart& part, const std::function<void(size_t buffer)>& wait_until_free,
                    const std::function<void(const Piece& piece)>& take);

 private:
  struct Slot {
    FilePart part;
    std::byte* memory = nullptr;
    bool arrived = false;
    int error = 0;  // errno; -1: the file ends too early
  };

  void Work();
  void Submit(size_t buffer, const FilePart& part);
  int Await(size_t buffer);  // → the slot's error
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !queue_.empty(); }

  const int64_t piece_bytes_;
  size_t next_ = 0;  // buffer of the next piece; the caller's
  absl::Mutex mutex_;
  std::vector<Slot> slots_;  // a slot is its reading thread's from Submit() to `arrived`
  std::deque<size_t> queue_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace llavamini
