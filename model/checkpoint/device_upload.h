// Parts of files as tensors on a GPU, at the speed of the disk or the PCIe link, whichever is
// lower: read with several threads into pinned memory, copied while more is read, converted on the
// GPU. Used by one thread, at load time.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/Event.h>

#include <vector>

#include "absl/status/status.h"
#include "model/checkpoint/piece_reader.h"

namespace llavamini {

class DeviceUpload {
 public:
  explicit DeviceUpload(at::Device device);

  // A part that holds elements of type `stored` into `out`, contiguous and on the device. Ready for
  // what is next on the current stream, which may still be copying when this returns.
  absl::Status Copy(const FilePart& part, at::ScalarType stored, const at::Tensor& out);

 private:
  const at::Device device_;
  const at::Tensor pinned_;         // uint8: the reader's buffers
  const at::Tensor unconverted_;    // uint8 on the device: one piece
  std::vector<c10::Event> copied_;  // per buffer: its newest piece is on the device
  PieceReader reader_;
};

}  // namespace llavamini
