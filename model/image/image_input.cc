// Parts of a picture (crops, then the whole), each brought to CLIP's square.
#include <algorithm>
#include <cstddef>
#include <utility>

#include "model/image/picture.h"
#include "model/image/resize.h"

namespace llavamini {
namespace {

constexpr Colour kPadColour = {122, 116, 104};  // floor(CLIP's mean * 255)

PictureView ViewOf(const Picture& picture) {
  return {picture.rgb.data(), picture.width, picture.height, int64_t{picture.width} * 3};
}

// Crop (column, row) of n x n, each floor(W/n) x floor(H/n). A picture of fewer than n pixels along
// an axis has no such crop: there each crop is one pixel, the last one repeated.
PictureView Crop(const PictureView& whole, int n, int column, int row) {
  PictureView crop = whole;
  crop.width = std::max<int64_t>(whole.width / n, 1);
  crop.height = std::max<int64_t>(whole.height / n, 1);
  const int64_t left = std::min(column * crop.width, whole.width - crop.width);
  const int64_t top = std::min(row * crop.height, whole.height - crop.height);
  crop.rgb += top * whole.stride + left * 3;
  return crop;
}

// Centred on a square, which is resized to `side`.
ResizeAxis PaddedAxis(int64_t length, int64_t square, int64_t side) {
  return {square, (square - length) / 2, length, side, 0, side};
}

// The shorter side is resized to `side`, the longer one to floor(side * long / short), of which the
// centre is wanted.
ResizeAxis CroppedAxis(int64_t length, int64_t shorter, int64_t side) {
  const int64_t resized = side * length / shorter;
  return {length, 0, length, resized, (resized - side) / 2, side};
}

void ResizePart(const PictureView& part, const ImageInputOptions& options, uint8_t* out) {
  const int64_t longer = std::max(part.width, part.height);
  const int64_t shorter = std::min(part.width, part.height);
  if (options.pad_to_square) {
    ResizeBicubic(part, PaddedAxis(part.width, longer, options.side),
                  PaddedAxis(part.height, longer, options.side), kPadColour, out);
  } else {
    ResizeBicubic(part, CroppedAxis(part.width, shorter, options.side),
                  CroppedAxis(part.height, shorter, options.side), kPadColour, out);
  }
}

}  // namespace

ImageInput MakeImageInput(const Picture& picture, const ImageInputOptions& options) {
  ImageInput input;
  const int n = options.resolution_ratio;
  input.resolution_ratio = n;
  input.side = options.side;
  const size_t part_bytes =
      static_cast<size_t>(options.side) * static_cast<size_t>(options.side) * 3;
  input.parts.resize(static_cast<size_t>(input.part_count()) * part_bytes);
  const PictureView whole = ViewOf(picture);
  uint8_t* out = input.parts.data();
  for (int crop = 0; n > 1 && crop < n * n; ++crop) {
    ResizePart(Crop(whole, n, crop % n, crop / n), options, out);
    out += part_bytes;
  }
  ResizePart(whole, options, out);
  return input;
}

ImageInput MakeFrameInput(const Picture& frame, const ImageInputOptions& options) {
  Picture square;
  square.width = options.side;
  square.height = options.side;
  square.rgb.reserve(static_cast<size_t>(options.side) * static_cast<size_t>(options.side) * 3);
  for (int64_t row = 0; row < options.side; ++row) {
    const uint8_t* source_row =
        frame.rgb.data() + row * frame.height / options.side * frame.width * 3;
    for (int64_t column = 0; column < options.side; ++column) {
      const uint8_t* pixel = source_row + column * frame.width / options.side * 3;
      square.rgb.insert(square.rgb.end(), pixel, pixel + 3);
    }
  }
  if (options.resolution_ratio > 1) return MakeImageInput(square, options);
  return {1, options.side, std::move(square.rgb)};
}

}  // namespace llavamini
