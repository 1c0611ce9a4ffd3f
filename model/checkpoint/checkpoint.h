// A checkpoint's tensors on their way to a device. Each tensor is taken once by name, dtype-checked
// and shape-checked; Finish() fails on what is left over. Used by one thread, at load time.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace llavamini {

class Checkpoint {
 public:
  // A folder's: one model.safetensors, or shards named by model.safetensors.index.json. Opens and
  // validates every header (see safetensors.h); nothing of the tensors' data is read yet.
  // vision_tower: a folder with a CLIP checkpoint (names from "vision_model." on) whose tensors are
  // found under the published prefix "model.vision_tower.vision_tower." when the main folder lacks
  // them.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(
      const std::filesystem::path& folder,
      const std::optional<std::filesystem::path>& vision_tower);

  // One that has every tensor of every shape: values follow from name and shape alone, and are the
  // same on every start on one kind of device. Norms' weights are near 1, other vectors near 0,
  // matrices have a standard deviation of 1/√(fan-in), so that activations stay of ordinary size
  // through any number of layers.
  static std::unique_ptr<Checkpoint> Dummy();

  virtual ~Checkpoint() = default;

  // Where tensors are put (float32 on the CPU until it is called). Before the first is taken.
  void SetTarget(at::Device device, at::ScalarType dtype) {
    options_ = at::TensorOptions(device).dtype(dtype);
  }

  // Called after each tensor with the bytes of the files that are done. Before the first is taken.
  void SetProgress(std::function<void(int64_t done_bytes, int64_t total_bytes)> progress) {
    progress_ = std::move(progress);
  }

  virtual bool Has(const std::string& name) const = 0;

  // A contiguous copy of the tensor, on the target's device in its dtype, that outlives the
  // checkpoint; on a GPU, ready for what is next on the current stream. The first failure is kept
  // and returned by Finish(): a missing tensor, a shape that is not the expected one, a dtype that
  // is not F32, F16 or BF16, a tensor taken twice, a file that cannot be read; then an undefined
  // tensor is returned, so that a module can be built in its initializer list without checking each
  // call.
  at::Tensor Take(const std::string& name, at::IntArrayRef shape);

  // Tensors of [rows[i], row...] as one of [Σ rows, row...], each copied straight to its place; row
  // is {in} for the weights of products, {} for their biases. Fails as Take() does.
  at::Tensor TakeRows(absl::Span<const std::string> names, at::IntArrayRef rows,
                      at::IntArrayRef row);

  // Accounts for a tensor that the model does not use (CLIP's last block): presence, shape and
  // dtype are checked as Take() does, nothing is read.
  void Expect(const std::string& name, at::IntArrayRef shape);

  // The first failure of Take(), or a tensor that nobody took (buffers such as position_ids and
  // rotary_emb.inv_freq are not tensors of the model and may stay), or OK.
  absl::Status Finish();

  // Elements of all tensors taken so far.
  int64_t parameters() const { return parameters_; }

 protected:
  // Marks the tensor as taken; says what is wrong with it.
  virtual absl::Status Claim(const std::string& name, at::IntArrayRef shape) = 0;
  // Writes a claimed tensor into `out`, contiguous and of the same shape.
  virtual absl::Status Fill(const std::string& name, const at::Tensor& out) = 0;
  virtual absl::Status CheckNothingIsLeft() const = 0;
  // Bytes in the files, of one claimed tensor and of all.
  virtual int64_t BytesOf(const std::string& name) const = 0;
  virtual int64_t TotalBytes() const = 0;

 private:
  bool Claimed(const std::string& name, at::IntArrayRef shape);
  bool Filled(const std::string& name, const at::Tensor& out);
  void Report(const std::string& name);

  at::TensorOptions options_ = at::TensorOptions(at::kCPU).dtype(at::kFloat);
  std::function<void(int64_t, int64_t)> progress_;
  absl::Status failure_;
  int64_t parameters_ = 0;
  int64_t done_bytes_ = 0;
};

}  // namespace llavamini
