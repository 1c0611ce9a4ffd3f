// Runs images through CLIP, compressor, projector and the visual part of pre-fusion: on a GPU as
// graphs of fixed numbers of images, cut into pieces of about a millisecond. Used by the thread
// that owns the model.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "model/clip.h"
#include "model/device_stream.h"
#include "model/fusion.h"
#include "model/model.h"

namespace llavamini {

class VisionRunner {
 public:
  // clip, fusion and stream outlive it. max_images: of one batch. options: device and dtype.
  VisionRunner(const ModelConfig& config, const ClipTower* clip, const Fusion* fusion,
               const DeviceStream* stream, int64_t max_images, const at::TensorOptions& options);
  ~VisionRunner();

  // On a GPU: times products and records the graphs of the checkpoint's own resolution ratio; other
  // ratios run without.
  void Prepare();

  std::unique_ptr<Encoding> Begin(absl::Span<const ImageInput* const> images);

  // The device's time for one piece of a batch of so many images; 0 on a CPU.
  double PieceMilliseconds(int64_t images) const;

 private:
  class Batch;
  struct Shape;

  const Shape& ShapeFor(int64_t images, int64_t resolution_ratio);
  Shape MakeShape(int64_t images, int64_t resolution_ratio) const;
  void RunUnits(const Shape& shape, int64_t first, int64_t last) const;
  int64_t Padded(int64_t images) const;

  const ModelConfig config_;
  const ClipTower* clip_;
  const Fusion* fusion_;
  const DeviceStream* stream_;
  const int64_t max_images_;
  const at::TensorOptions options_;
  std::vector<int64_t> sizes_;  // of batches that are graphs, ascending
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Shape>> shapes_;  // by images and ratio
  std::map<int64_t, double> piece_milliseconds_;                          // by images
  std::array<DeviceStream::Event, 2> done_;  // of the last batches: no more than two wait there
  size_t next_done_ = 0;
};

}  // namespace llavamini
