// The safetensors files of one folder: model.safetensors, or else the shards that
// model.safetensors.index.json names. Used at load time, from one thread.
#pragma once

#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/safetensors.h"

namespace llavamini {

// Opens every file. Refuses a folder with neither of the two, an index whose file names are not
// plain names of the folder, a tensor that its shard lacks, a shard's tensor that the index does
// not list or places elsewhere. So every name occurs once. (A file may be a symbolic link out of
// the folder, as in Hugging Face's cache.)
absl::StatusOr<std::vector<SafetensorsFile>> OpenShards(const std::filesystem::path& folder);

}  // namespace llavamini
