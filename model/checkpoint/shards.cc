#include "model/checkpoint/shards.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "model/checkpoint/error_text.h"
#include "model/checkpoint/json_reader.h"

namespace llavamini {
namespace {

using nlohmann::json;

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr size_t kLargestIndex = 64 << 20;
constexpr size_t kLongestFileName = 255;

// Tensor name → name of its file.
using WeightMap = std::map<std::string, std::string>;

bool IsPlainFileName(const std::string& name) {
  return name.size() <= kLongestFileName && !name.starts_with('.') &&
         name.ends_with(".safetensors") && !absl::StrContains(name, '/') &&
         !absl::StrContains(name, '\\') && Printable(name) == name;
}

absl::StatusOr<WeightMap> ParseIndex(const std::string& text) {
  const absl::StatusOr<json> index = ParseJsonObject(text);
  if (!index.ok()) return index.status();
  const auto entries = index->find("weight_map");
  if (entries == index->end()) return BadCheckpoint("weight_map is missing");
  if (!entries->is_object() || entries->empty()) {
    return BadCheckpoint("weight_map is ", DescribeJson(*entries),
                         "; it must be an object of file names");
  }
  WeightMap weight_map;
  for (const auto& [name, file] : entries->items()) {
    if (!file.is_string() || !IsPlainFileName(file.get_ref<const std::string&>())) {
      return BadCheckpoint(Printable(name), ": is placed in ", DescribeJson(file),
                           "; it must be a .safetensors file of the folder itself");
    }
    weight_map.emplace(name, file.get<std::string>());
  }
  return weight_map;
}

// The shard's tensors must be those that the index places in it.
absl::Status CheckShard(const std::string& shard, const SafetensorsFile& file,
                        const WeightMap& weight_map, std::set<std::string> listed) {
  for (const TensorInfo& tensor : file.tensors()) {
    if (listed.erase(tensor.name) == 1) continue;
    const auto entry = weight_map.find(tensor.name);
    if (entry == weight_map.end()) {
      return BadCheckpoint(shard, ": ", Printable(tensor.name), ": is not in ", kIndexFile);
    }
    return BadCheckpoint(shard, ": ", Printable(tensor.name), ": is placed in ", entry->second,
                         " by ", kIndexFile);
  }
  if (listed.empty()) return absl::OkStatus();
  return BadCheckpoint(shard, ": ", Printable(*listed.begin()), ": is missing, but ", kIndexFile,
                       " places it here");
}

absl::StatusOr<std::vector<SafetensorsFile>> OpenIndexed(const std::filesystem::path& folder) {
  const absl::StatusOr<std::string> text = ReadSmallFile(folder / kIndexFile, kLargestIndex);
  if (!text.ok()) return text.status();
  const absl::StatusOr<WeightMap> weight_map = ParseIndex(*text);
  if (!weight_map.ok()) return Within(kIndexFile, weight_map.status());
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [name, shard] : *weight_map) shards[shard].insert(name);
  std::vector<SafetensorsFile> files;
  for (const auto& [shard, listed] : shards) {
    absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(folder / shard);
    if (!file.ok()) return file.status();
    if (absl::Status status = CheckShard(shard, *file, *weight_map, listed); !status.ok()) {
      return status;
    }
    files.push_back(*std::move(file));
  }
  return files;
}

}  // namespace

absl::StatusOr<std::vector<SafetensorsFile>> OpenShards(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) {
    return BadCheckpoint(folder.string(), ": is not a folder");
  }
  // As Hugging Face does: the single file comes before an index.
  if (std::filesystem::exists(folder / kSingleFile, ignored)) {
    absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(folder / kSingleFile);
    if (!file.ok()) return file.status();
    std::vector<SafetensorsFile> files;
    files.push_back(*std::move(file));
    return files;
  }
  if (std::filesystem::exists(folder / kIndexFile, ignored)) return OpenIndexed(folder);
  return BadCheckpoint(folder.string(), ": has neither ", kSingleFile, " nor ", kIndexFile,
                       " (checkpoints in PyTorch's .bin files must be converted)");
}

}  // namespace llavamini
