// A checkpoint folder: safetensors files, mapped into memory.
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/device_upload.h"
#include "model/checkpoint/error_text.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/shards.h"

namespace llavamini {
namespace {

constexpr char kTowerPrefix[] = "model.vision_tower.vision_tower.";
constexpr char kTowerTensors[] = "vision_model.";
constexpr size_t kMostNamesInError = 3;

struct Entry {
  TensorInfo tensor;
  FilePart part;  // where its bytes lie
  bool taken = false;
};
using Entries = std::map<std::string, Entry>;

// Buffers that Hugging Face's older versions saved along with the weights; they follow from the
// config.
bool IsIgnorable(const std::string& name) {
  return absl::EndsWith(name, ".position_ids") || absl::EndsWith(name, ".rotary_emb.inv_freq");
}

// What a whole CLIP checkpoint holds beside the vision model.
bool IsTextPartOfClip(const std::string& name) {
  return absl::StartsWith(name, "text_model.") || absl::StartsWith(name, "text_projection.") ||
         absl::StartsWith(name, "visual_projection.") || name == "logit_scale";
}

bool HasVisionTower(const Entries& entries) {
  const auto first = entries.lower_bound(kTowerPrefix);
  return first != entries.end() && absl::StartsWith(first->first, kTowerPrefix);
}

absl::Status AddVisionTower(const std::string& folder, const std::vector<SafetensorsFile>& files,
                            Entries& entries) {
  for (const SafetensorsFile& file : files) {
    for (const TensorInfo& tensor : file.tensors()) {
      if (absl::StartsWith(tensor.name, kTowerTensors)) {
        entries[absl::StrCat(kTowerPrefix, tensor.name)] = {tensor, file.PartOf(tensor)};
      } else if (!IsTextPartOfClip(tensor.name)) {
        return BadCheckpoint(folder, ": ", Printable(tensor.name), ": is not a tensor of CLIP");
      }
    }
  }
  if (HasVisionTower(entries)) return absl::OkStatus();
  return BadCheckpoint(folder, ": has no tensor ", kTowerTensors, "*");
}

std::optional<at::ScalarType> FloatingType(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return at::kFloat;
    case TensorType::kF16:
      return at::kHalf;
    case TensorType::kBF16:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

// To the CPU: one copy where the bytes are aligned, which every writer of safetensors sees to; one
// more where they are not.
void Copy(const TensorInfo& tensor, at::ScalarType source, const at::Tensor& out) {
  if (tensor.data.empty()) return;
  if (out.scalar_type() == source) {
    std::memcpy(out.data_ptr(), tensor.data.data(), tensor.data.size());
    return;
  }
  const auto address = reinterpret_cast<uintptr_t>(tensor.data.data());
  if (address % static_cast<uintptr_t>(TensorTypeSize(tensor.type)) == 0) {
    // Only read from: the mapping is read-only, and the view does not leave this function.
    void* data = const_cast<std::byte*>(tensor.data.data());
    out.copy_(at::from_blob(data, tensor.shape, at::TensorOptions(source)));
    return;
  }
  const at::Tensor aligned = at::empty(tensor.shape, source);
  std::memcpy(aligned.data_ptr(), tensor.data.data(), tensor.data.size());
  out.copy_(aligned);
}

class MappedCheckpoint final : public Checkpoint {
 public:
  MappedCheckpoint(std::vector<SafetensorsFile> files, Entries entries)
      : files_(std::move(files)), entries_(std::move(entries)) {
    for (const auto& [name, entry] : entries_) total_bytes_ += std::ssize(entry.tensor.data);
  }

  bool Has(const std::string& name) const override { return entries_.contains(name); }

 protected:
  absl::Status Claim(const std::string& name, at::IntArrayRef shape) override {
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      return BadCheckpoint(name, ": expected ", ShapeText(shape), ", but the checkpoint lacks it",
                           absl::StartsWith(name, kTowerPrefix) && !HasVisionTower(entries_)
                               ? " (CLIP's weights may be in a folder of their own: --vision-tower)"
                               : "");
    }
    const TensorInfo& tensor = found->second.tensor;
    if (std::exchange(found->second.taken, true)) {
      return absl::InternalError(absl::StrCat(name, ": taken twice"));
    }
    if (shape != at::IntArrayRef(tensor.shape)) {
      return BadCheckpoint(name, ": expected ", ShapeText(shape), ", the checkpoint has ",
                           ShapeText(tensor.shape));
    }
    if (!FloatingType(tensor.type).has_value()) {
      return BadCheckpoint(name, ": expected F32, F16 or BF16, the checkpoint has ",
                           TensorTypeName(tensor.type));
    }
    return absl::OkStatus();
  }

  absl::Status Fill(const std::string& name, const at::Tensor& out) override {
    const Entry& entry = entries_.at(name);
    const at::ScalarType stored = *FloatingType(entry.tensor.type);
    if (out.is_cpu()) {
      Copy(entry.tensor, stored, out);
      return absl::OkStatus();
    }
    if (upload_ == nullptr) upload_ = std::make_unique<DeviceUpload>(out.device());
    return Within(name, upload_->Copy(entry.part, stored, out));
  }

  absl::Status CheckNothingIsLeft() const override {
    std::vector<std::string> names;
    size_t left_over = 0;
    for (const auto& [name, entry] : entries_) {
      if (entry.taken || IsIgnorable(name)) continue;
      if (left_over++ < kMostNamesInError) names.push_back(Printable(name));
    }
    if (left_over == 0) return absl::OkStatus();
    return BadCheckpoint("the model has no place for ", left_over,
                         " of the checkpoint's tensors: ", absl::StrJoin(names, ", "),
                         left_over > names.size() ? ", ..." : "");
  }

  int64_t BytesOf(const std::string& name) const override {
    return std::ssize(entries_.at(name).tensor.data);
  }
  int64_t TotalBytes() const override { return total_bytes_; }

 private:
  std::vector<SafetensorsFile> files_;  // own the bytes that entries_ point to
  Entries entries_;
  int64_t total_bytes_ = 0;
  std::unique_ptr<DeviceUpload> upload_;  // made for the first tensor on a GPU
};

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(
    const std::filesystem::path& folder, const std::optional<std::filesystem::path>& vision_tower) {
  absl::StatusOr<std::vector<SafetensorsFile>> files = OpenShards(folder);
  if (!files.ok()) return files.status();
  Entries entries;
  for (const SafetensorsFile& file : *files) {
    for (const TensorInfo& tensor : file.tensors()) {
      entries[tensor.name] = {tensor, file.PartOf(tensor)};
    }
  }
  if (vision_tower.has_value() && !HasVisionTower(entries)) {
    absl::StatusOr<std::vector<SafetensorsFile>> tower = OpenShards(*vision_tower);
    if (!tower.ok()) return Within("vision tower", tower.status());
    const absl::Status added = AddVisionTower("vision tower", *tower, entries);
    if (!added.ok()) return added;
    for (SafetensorsFile& file : *tower) files->push_back(std::move(file));
  }
  return std::make_unique<MappedCheckpoint>(*std::move(files), std::move(entries));
}

}  // namespace llavamini
