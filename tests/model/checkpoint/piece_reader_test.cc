// PieceReader: every byte in its place for any sizes and numbers of threads, and no buffer written
// while its piece may still be used.
#include "model/checkpoint/piece_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <stdexcept>
#include <string>

#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

using testing::HasSubstr;

std::string Content(size_t bytes) {
  std::string content(bytes, '\0');
  uint32_t state = 1;
  for (char& c : content) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return content;
}

// Copies a piece only when its buffer is about to be written again, as an asynchronous copy may.
class LateCopier {
 public:
  absl::Status Read(PieceReader& reader, const FilePart& part) {
    result_.assign(static_cast<size_t>(part.bytes), '\0');
    const absl::Status status = reader.Read(
        part, [this](size_t buffer) { Finish(buffer); },
        [this](const Piece& piece) {
          EXPECT_FALSE(pending_.contains(piece.buffer));
          pending_[piece.buffer] = piece;
        });
    while (!pending_.empty()) Finish(pending_.begin()->first);
    return status;
  }
  const std::string& result() const { return result_; }

 private:
  void Finish(size_t buffer) {
    const auto found = pending_.find(buffer);
    if (found == pending_.end()) return;
    const Piece& piece = found->second;
    std::memcpy(result_.data() + piece.begin, piece.bytes.data(), piece.bytes.size());
    pending_.erase(found);
  }

  std::map<size_t, Piece> pending_;
  std::string result_;
};

class PieceReaderTest : public testing::Test {
 protected:
  PieceReaderTest() : content_(Content(10'007)) {
    folder_.Write("file", content_);
    file_.emplace(*MappedFile::Open(folder_.path() / "file"));
  }

  FilePart Part(int64_t offset, int64_t bytes) const {
    return {file_->descriptor(), offset, bytes};
  }

  const TemporaryFolder folder_;
  const std::string content_;
  std::optional<MappedFile> file_;
};

TEST_F(PieceReaderTest, ReadsEveryByteWithAnySizesAndThreads) {
  for (const int threads : {1, 2, 5}) {
    for (const int64_t piece : {1000, 1024, 9973}) {
      for (const size_t buffers : {1, 2, 7}) {
        std::vector<std::byte> memory(static_cast<size_t>(piece) * buffers);
        PieceReader reader(memory, piece, threads);
        ASSERT_EQ(reader.buffers(), buffers);
        LateCopier copier;
        for (const auto& [offset, bytes] : std::initializer_list<std::pair<int64_t, int64_t>>{
                 {0, 10'007}, {3, 5000}, {9000, 1}, {17, 0}, {1, 2000}, {7, 10'000}}) {
          ASSERT_EQ(copier.Read(reader, Part(offset, bytes)), absl::OkStatus());
          EXPECT_EQ(copier.result(),
                    content_.substr(static_cast<size_t>(offset), static_cast<size_t>(bytes)))
              << threads << " " << piece << " " << buffers << " " << offset;
        }
      }
    }
  }
}

TEST_F(PieceReaderTest, SaysWhenAFileHasBecomeShorterAndGoesOn) {
  std::vector<std::byte> memory(4 * 500);
  PieceReader reader(memory, 500, 3);
  LateCopier copier;
  const absl::Status status = copier.Read(reader, Part(9000, 5000));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("shorter"));
  ASSERT_EQ(copier.Read(reader, Part(0, 10'007)), absl::OkStatus());
  EXPECT_EQ(copier.result(), content_);
}

TEST_F(PieceReaderTest, SaysWhatTheSystemSays) {
  std::vector<std::byte> memory(500);
  PieceReader reader(memory, 500, 1);
  LateCopier copier;
  const absl::Status status = copier.Read(reader, {-1, 0, 10});
  EXPECT_THAT(std::string(status.message()), HasSubstr("Bad file descriptor"));
}

TEST_F(PieceReaderTest, CanBeUsedAfterItsTakerThrew) {
  std::vector<std::byte> memory(4 * 500);
  PieceReader reader(memory, 500, 3);
  const auto take = [](const Piece& piece) {
    if (piece.begin == 1000) throw std::runtime_error("out of memory");
  };
  EXPECT_THROW(reader
                   .Read(
                       Part(0, 9000), [](size_t) {}, take)
                   .IgnoreError(),
               std::runtime_error);
  LateCopier copier;
  ASSERT_EQ(copier.Read(reader, Part(5, 10'000)), absl::OkStatus());
  EXPECT_EQ(copier.result(), content_.substr(5, 10'000));
}

}  // namespace
}  // namespace llavamini
