#include "model/checkpoint/device_upload.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace llavamini {
namespace {

constexpr int64_t kPieceBytes = 2 << 20;
constexpr int64_t kPieces = 32;
constexpr int kThreads = 8;

std::span<std::byte> BytesOf(const at::Tensor& memory) {
  return {static_cast<std::byte*>(memory.data_ptr()), memory.nbytes()};
}

}  // namespace

DeviceUpload::DeviceUpload(at::Device device)
    : device_(device),
      pinned_(at::empty({kPieces * kPieceBytes},
                        at::TensorOptions(at::kCPU).dtype(at::kByte).pinned_memory(true))),
      unconverted_(at::empty({kPieceBytes}, at::TensorOptions(device).dtype(at::kByte))),
      reader_(BytesOf(pinned_), kPieceBytes, kThreads) {
  for (int64_t i = 0; i < kPieces; ++i) copied_.emplace_back(device.type());
}

absl::Status DeviceUpload::Copy(const FilePart& part, at::ScalarType stored,
                                const at::Tensor& out) {
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  const at::Tensor flat = out.flatten();
  const auto size = static_cast<int64_t>(at::elementSize(stored));
  const auto take = [&](const Piece& piece) {
    const auto bytes = std::ssize(piece.bytes);
    const at::Tensor source =
        pinned_.narrow(0, static_cast<int64_t>(piece.buffer) * kPieceBytes, bytes);
    const at::Tensor target = flat.narrow(0, piece.begin / size, bytes / size);
    if (stored == out.scalar_type()) {
      target.view(at::kByte).copy_(source, /*non_blocking=*/true);
    } else {
      const at::Tensor arrived = unconverted_.narrow(0, 0, bytes);
      arrived.copy_(source, /*non_blocking=*/true);
      target.copy_(arrived.view(stored));
    }
    copied_[piece.buffer].record(stream);
  };
  return reader_.Read(
      part, [this](size_t buffer) { copied_[buffer].synchronize(); }, take);
}

}  // namespace llavamini
