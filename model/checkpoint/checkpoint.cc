#include "model/checkpoint/checkpoint.h"

#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
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
        entries[absl::StrCat(kTowerPrefix, tensor.name)].tensor = tensor;
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

at::Tensor CopyBytes(const TensorInfo& tensor, at::ScalarType type) {
  at::Tensor copy = at::empty(tensor.shape, type);
  if (!tensor.data.empty()) std::memcpy(copy.data_ptr(), tensor.data.data(), tensor.data.size());
  return copy;
}

// One copy where the bytes are aligned, which every writer of safetensors sees to; one more where
// they are not.
at::Tensor Load(const TensorInfo& tensor, at::ScalarType source, at::Device device,
                at::ScalarType target) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.data.data());
  const bool aligned = address % static_cast<uintptr_t>(TensorTypeSize(tensor.type)) == 0;
  if (tensor.data.empty() || !aligned || (source == target && device.is_cpu())) {
    return CopyBytes(tensor, source).to(device, target);
  }
  // Only read from: the mapping is read-only, and the view does not leave this function.
  void* data = const_cast<std::byte*>(tensor.data.data());
  return at::from_blob(data, tensor.shape, at::TensorOptions(source))
      .to(device, target, /*non_blocking=*/false, /*copy=*/true);
}

class MappedCheckpoint final : public Checkpoint {
 public:
  MappedCheckpoint(std::vector<SafetensorsFile> files, Entries entries)
      : files_(std::move(files)), entries_(std::move(entries)) {}

  bool Has(const std::string& name) const override { return entries_.contains(name); }

  at::Tensor Take(const std::string& name, at::IntArrayRef shape) override {
    const TensorInfo* tensor = Claim(name, shape);
    if (tensor == nullptr) return {};
    parameters_ += tensor->elements;
    return Load(*tensor, *FloatingType(tensor->type), device_, dtype_);
  }

  void Expect(const std::string& name, at::IntArrayRef shape) override { Claim(name, shape); }

  void SetTarget(at::Device device, at::ScalarType dtype) override {
    device_ = device;
    dtype_ = dtype;
  }

  absl::Status Finish() override {
    if (!failure_.ok()) return failure_;
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

  int64_t parameters() const override { return parameters_; }

 private:
  // The tensor, now taken, or nullptr when this or an earlier tensor failed.
  const TensorInfo* Claim(const std::string& name, at::IntArrayRef shape) {
    if (!failure_.ok()) return nullptr;
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      failure_ =
          BadCheckpoint(name, ": expected ", ShapeText(shape), ", but the checkpoint lacks it",
                        absl::StartsWith(name, kTowerPrefix) && !HasVisionTower(entries_)
                            ? " (CLIP's weights may be in a folder of their own: --vision-tower)"
                            : "");
      return nullptr;
    }
    const TensorInfo& tensor = found->second.tensor;
    if (std::exchange(found->second.taken, true)) {
      failure_ = absl::InternalError(absl::StrCat(name, ": taken twice"));
    } else if (shape != at::IntArrayRef(tensor.shape)) {
      failure_ = BadCheckpoint(name, ": expected ", ShapeText(shape), ", the checkpoint has ",
                               ShapeText(tensor.shape));
    } else if (!FloatingType(tensor.type).has_value()) {
      failure_ = BadCheckpoint(name, ": expected F32, F16 or BF16, the checkpoint has ",
                               TensorTypeName(tensor.type));
    }
    return failure_.ok() ? &tensor : nullptr;
  }

  std::vector<SafetensorsFile> files_;  // own the bytes that entries_ point to
  Entries entries_;
  absl::Status failure_;
  int64_t parameters_ = 0;
  at::Device device_ = at::kCPU;
  at::ScalarType dtype_ = at::kFloat;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(
    const std::filesystem::path& folder, const std::optional<std::filesystem::path>& vision_tower) {
  absl::StatusOr<std::vector<SafetensorsFile>> files = OpenShards(folder);
  if (!files.ok()) return files.status();
  Entries entries;
  for (const SafetensorsFile& file : *files) {
    for (const TensorInfo& tensor : file.tensors()) entries[tensor.name].tensor = tensor;
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
