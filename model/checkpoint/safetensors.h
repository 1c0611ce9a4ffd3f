// The safetensors format: 8 bytes of header length (little-endian), a JSON header of names, dtypes,
// shapes and offsets, then the tensors' bytes. Nothing in the file is trusted. Used at load time,
// from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/mapped_file.h"

namespace llavamini {

enum class TensorType {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64
};

const char* TensorTypeName(TensorType type);  // as in the file: "BF16"
int64_t TensorTypeSize(TensorType type);      // bytes per element

// One tensor inside a file's bytes, row-major and little-endian. Its address need not be aligned to
// its elements.
struct TensorInfo {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<int64_t> shape;  // empty: a scalar
  int64_t elements = 0;        // product of shape
  std::span<const std::byte> data;
};

// The tensors of a file's content, in the order of their bytes. Refuses, in one line: a length
// beyond the file or 100 MB, a header that is not strict JSON of the documented form, unknown
// dtypes, negative or overflowing sizes, offsets outside the file, reversed, overlapping, leaving
// bytes to no tensor, or of another size than dtype and shape make.
absl::StatusOr<std::vector<TensorInfo>> ParseSafetensors(std::span<const std::byte> file);

// A mapped file and its tensors, which point into it.
class SafetensorsFile {
 public:
  static absl::StatusOr<SafetensorsFile> Open(const std::filesystem::path& path);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  // Where in the file one of its tensors lies.
  FilePart PartOf(const TensorInfo& tensor) const {
    return {file_.descriptor(), tensor.data.data() - file_.bytes().data(), std::ssize(tensor.data)};
  }

 private:
  SafetensorsFile(MappedFile file, std::vector<TensorInfo> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  MappedFile file_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace llavamini
