// Checkpoint folders for tests: a small good one, and what is needed to damage it byte by byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace llavamini {

// One tensor to write: `bytes` holds its elements, little-endian.
struct TensorBytes {
  std::string name;
  std::string type;  // as in the file: "F16"
  std::vector<int64_t> shape;
  std::string bytes;
};

// A tensor whose bytes count up, so that none equals its neighbour.
TensorBytes CountingTensor(const std::string& name, const std::string& type,
                           const std::vector<int64_t>& shape);

// A well-formed safetensors file, tensors in the order given.
std::string WriteSafetensors(const std::vector<TensorBytes>& tensors,
                             const nlohmann::json& metadata = nullptr);

// A safetensors file with this header, whatever it is, and these bytes of data.
std::string WithHeader(const std::string& header, const std::string& data);

// 8 bytes, little-endian.
std::string LengthPrefix(uint64_t length);

// A folder of its own under the system's temporary folder; removed by the destructor.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::filesystem::path& path() const { return path_; }
  void Write(const std::string& name, const std::string& content) const;
  void Remove(const std::string& name) const;

 private:
  std::filesystem::path path_;
};

nlohmann::json GoodConfig();
std::vector<TensorBytes> GoodTensors();               // CLIP's included
std::vector<TensorBytes> GoodTowerTensors();          // as a CLIP checkpoint names them
void WriteGoodFolder(const TemporaryFolder& folder);  // config.json and model.safetensors
void WriteGoodShards(const TemporaryFolder& folder);  // "a" and "b" of ShardName()
std::string ShardName(const std::string& letter);     // model-a.safetensors
nlohmann::json GoodIndex();                           // of WriteGoodShards
void WriteIndex(const TemporaryFolder& folder, const nlohmann::json& index);

// Loads config and checkpoint as a model would: takes each tensor of GoodTensors() once, then
// finishes. lm_head may be missing.
absl::Status LoadFolder(const std::filesystem::path& folder,
                        const std::optional<std::filesystem::path>& vision_tower = std::nullopt);

}  // namespace llavamini
