// The tensors of a checkpoint folder: one model.safetensors, or shards named by
// model.safetensors.index.json, mapped into memory. Each tensor is taken once by name,
// dtype-checked and shape-checked; Finish() fails on what is left over. Used by one thread, at load
// time.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llavamini {

class Checkpoint {
 public:
  // Opens and validates every header (see safetensors.h); nothing of the tensors' data is read yet.
  // vision_tower: a folder with a CLIP checkpoint (names from "vision_model." on) whose tensors are
  // found under the published prefix "model.vision_tower.vision_tower." when the main folder lacks
  // them.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(
      const std::filesystem::path& folder,
      const std::optional<std::filesystem::path>& vision_tower);
  virtual ~Checkpoint() = default;

  virtual bool Has(const std::string& name) const = 0;

  // A contiguous copy of the tensor, on the target's device in its dtype, that outlives the
  // checkpoint. The first failure is kept and returned by Finish(): a missing tensor, a shape that
  // is not the expected one, a dtype that is not F32, F16 or BF16, a tensor taken twice; then an
  // undefined tensor is returned, so that a module can be built in its initializer list without
  // checking each call.
  virtual at::Tensor Take(const std::string& name, at::IntArrayRef shape) = 0;

  // Accounts for a tensor that the model does not use (CLIP's last block): presence, shape and
  // dtype are checked as Take() does, nothing is read.
  virtual void Expect(const std::string& name, at::IntArrayRef shape) = 0;

  // Where Take() puts tensors (float32 on the CPU until it is called). Set once before the first
  // Take().
  virtual void SetTarget(at::Device device, at::ScalarType dtype) = 0;

  // The first failure of Take(), or a tensor that nobody took (buffers such as position_ids and
  // rotary_emb.inv_freq are not tensors of the model and may stay), or OK.
  virtual absl::Status Finish() = 0;

  // Elements of all tensors taken so far.
  virtual int64_t parameters() const = 0;
};

}  // namespace llavamini
