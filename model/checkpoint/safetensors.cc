#include "model/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "model/checkpoint/error_text.h"
#include "model/checkpoint/json_reader.h"

namespace llavamini {
namespace {

using nlohmann::json;
using Bytes = std::span<const std::byte>;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kLongestHeader = 100'000'000;
constexpr size_t kMostDimensions = 16;

struct TypeFacts {
  TensorType type;
  const char* name;
  int64_t size;
};
constexpr std::array kTypes = {
    TypeFacts{TensorType::kBool, "BOOL", 1},      TypeFacts{TensorType::kU8, "U8", 1},
    TypeFacts{TensorType::kI8, "I8", 1},          TypeFacts{TensorType::kF8E4M3, "F8_E4M3", 1},
    TypeFacts{TensorType::kF8E5M2, "F8_E5M2", 1}, TypeFacts{TensorType::kF8E8M0, "F8_E8M0", 1},
    TypeFacts{TensorType::kU16, "U16", 2},        TypeFacts{TensorType::kI16, "I16", 2},
    TypeFacts{TensorType::kF16, "F16", 2},        TypeFacts{TensorType::kBF16, "BF16", 2},
    TypeFacts{TensorType::kU32, "U32", 4},        TypeFacts{TensorType::kI32, "I32", 4},
    TypeFacts{TensorType::kF32, "F32", 4},        TypeFacts{TensorType::kU64, "U64", 8},
    TypeFacts{TensorType::kI64, "I64", 8},        TypeFacts{TensorType::kF64, "F64", 8}};

const TypeFacts& FactsOf(TensorType type) {
  return *std::find_if(kTypes.begin(), kTypes.end(),
                       [type](const TypeFacts& facts) { return facts.type == type; });
}

// Header text and the tensors' bytes.
struct Sections {
  std::string_view header;
  Bytes data;
};

absl::StatusOr<Sections> SplitFile(Bytes file) {
  if (file.size() < kLengthBytes) {
    return BadCheckpoint("has ", file.size(), " bytes; a safetensors file has at least ",
                         kLengthBytes);
  }
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | std::to_integer<uint64_t>(file[i]);
  const Bytes rest = file.subspan(kLengthBytes);
  if (length > kLongestHeader) {
    return BadCheckpoint("header length ", length, ", allowed are at most ", kLongestHeader);
  }
  if (length > rest.size()) {
    return BadCheckpoint("header length ", length, ", but only ", rest.size(), " bytes follow it");
  }
  return Sections{{reinterpret_cast<const char*>(rest.data()), static_cast<size_t>(length)},
                  rest.subspan(static_cast<size_t>(length))};
}

std::optional<int64_t> NonNegative(const json& value) {
  constexpr uint64_t kLargest = std::numeric_limits<int64_t>::max();
  if (!value.is_number_unsigned() || value.get<uint64_t>() > kLargest) return std::nullopt;
  return value.get<int64_t>();
}

absl::Status ReadType(const json& entry, TensorInfo& tensor) {
  const auto found = entry.find("dtype");
  if (found == entry.end()) return BadCheckpoint("dtype is missing");
  if (found->is_string()) {
    for (const TypeFacts& facts : kTypes) {
      if (*found != facts.name) continue;
      tensor.type = facts.type;
      return absl::OkStatus();
    }
  }
  return BadCheckpoint("dtype is ", DescribeJson(*found), ", which is unknown");
}

absl::Status ReadShape(const json& entry, TensorInfo& tensor) {
  const auto found = entry.find("shape");
  if (found == entry.end()) return BadCheckpoint("shape is missing");
  if (!found->is_array() || found->size() > kMostDimensions) {
    return BadCheckpoint("shape is ", DescribeJson(*found), "; it must be a list of at most ",
                         kMostDimensions, " sizes");
  }
  tensor.elements = 1;
  for (const json& value : *found) {
    const std::optional<int64_t> size = NonNegative(value);
    if (!size.has_value()) {
      return BadCheckpoint("shape has ", DescribeJson(value),
                           "; a size is an integer of 0 to 2^63 - 1");
    }
    tensor.shape.push_back(*size);
    if (__builtin_mul_overflow(tensor.elements, *size, &tensor.elements)) {
      return BadCheckpoint("shape overflows: it has more than 2^63 - 1 elements");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadData(const json& entry, Bytes data, TensorInfo& tensor) {
  const auto found = entry.find("data_offsets");
  if (found == entry.end()) return BadCheckpoint("data_offsets is missing");
  const bool pair = found->is_array() && found->size() == 2;
  const std::optional<int64_t> begin = pair ? NonNegative((*found)[0]) : std::nullopt;
  const std::optional<int64_t> end = pair ? NonNegative((*found)[1]) : std::nullopt;
  if (!begin.has_value() || !end.has_value()) {
    return BadCheckpoint("data_offsets must be two integers of 0 to 2^63 - 1");
  }
  if (*begin > *end) {
    return BadCheckpoint("data_offsets [", *begin, ", ", *end, "] are reversed");
  }
  if (static_cast<uint64_t>(*end) > data.size()) {
    return BadCheckpoint("data_offsets [", *begin, ", ", *end, "] are outside the file's ",
                         data.size(), " bytes of data");
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(tensor.elements, TensorTypeSize(tensor.type), &bytes)) {
    return BadCheckpoint("shape overflows: it has more than 2^63 - 1 bytes");
  }
  if (bytes != *end - *begin) {
    return BadCheckpoint(TensorTypeName(tensor.type), " ", ShapeText(tensor.shape), " takes ",
                         bytes, " bytes, its data_offsets hold ", *end - *begin);
  }
  tensor.data = data.subspan(static_cast<size_t>(*begin), static_cast<size_t>(bytes));
  return absl::OkStatus();
}

absl::StatusOr<TensorInfo> ReadTensor(const std::string& name, const json& entry, Bytes data) {
  TensorInfo tensor;
  tensor.name = name;
  if (!entry.is_object()) {
    return BadCheckpoint("is ", DescribeJson(entry), "; it must be an object");
  }
  for (const auto& [key, value] : entry.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return BadCheckpoint("has the unknown key \"", Printable(key), "\"");
    }
  }
  absl::Status status = ReadType(entry, tensor);
  if (status.ok()) status = ReadShape(entry, tensor);
  if (status.ok()) status = ReadData(entry, data, tensor);
  if (!status.ok()) return status;
  return tensor;
}

// Every byte of data belongs to exactly one tensor. Sorts by position.
absl::Status CheckLayout(Bytes data, std::vector<TensorInfo>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& left, const TensorInfo& right) {
    if (left.data.data() != right.data.data()) return left.data.data() < right.data.data();
    return left.data.size() < right.data.size();
  });
  size_t covered = 0;
  const TensorInfo* previous = nullptr;
  for (const TensorInfo& tensor : tensors) {
    const auto begin = static_cast<size_t>(tensor.data.data() - data.data());
    if (begin < covered) {
      return BadCheckpoint(Printable(tensor.name), ": overlaps ", Printable(previous->name));
    }
    if (begin > covered) {
      return BadCheckpoint("data bytes ", covered, " to ", begin, " belong to no tensor");
    }
    covered += tensor.data.size();
    previous = &tensor;
  }
  if (covered != data.size()) {
    return BadCheckpoint("data bytes ", covered, " to ", data.size(), " belong to no tensor");
  }
  return absl::OkStatus();
}

absl::Status CheckMetadata(const json& metadata) {
  const bool strings =
      metadata.is_object() && std::all_of(metadata.begin(), metadata.end(),
                                          [](const json& value) { return value.is_string(); });
  if (strings) return absl::OkStatus();
  return BadCheckpoint("__metadata__ must be an object of strings");
}

}  // namespace

const char* TensorTypeName(TensorType type) { return FactsOf(type).name; }
int64_t TensorTypeSize(TensorType type) { return FactsOf(type).size; }

absl::StatusOr<std::vector<TensorInfo>> ParseSafetensors(Bytes file) {
  const absl::StatusOr<Sections> sections = SplitFile(file);
  if (!sections.ok()) return sections.status();
  if (!sections->header.starts_with('{')) return BadCheckpoint("header: does not start with {");
  const absl::StatusOr<json> header = ParseJsonObject(sections->header);
  if (!header.ok()) return Within("header", header.status());
  std::vector<TensorInfo> tensors;
  for (const auto& [name, entry] : header->items()) {
    if (name == "__metadata__") {
      if (absl::Status metadata = CheckMetadata(entry); !metadata.ok()) return metadata;
      continue;
    }
    absl::StatusOr<TensorInfo> tensor = ReadTensor(name, entry, sections->data);
    if (!tensor.ok()) return Within(Printable(name), tensor.status());
    tensors.push_back(*std::move(tensor));
  }
  if (absl::Status layout = CheckLayout(sections->data, tensors); !layout.ok()) return layout;
  return tensors;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<std::vector<TensorInfo>> tensors = ParseSafetensors(file->bytes());
  if (!tensors.ok()) return Within(path.filename().string(), tensors.status());
  return SafetensorsFile(*std::move(file), *std::move(tensors));
}

}  // namespace llavamini
