// Pillow's bicubic resize of RGB pixels, bit for bit, of a picture centred on a canvas that is
// never built. Called by image_input.cc. Pure; safe from any thread.
#pragma once

#include <array>
#include <cstdint>

#include "model/image/axis_filter.h"

namespace llavamini {

// A rectangle of 8-bit RGB pixels inside a picture; not owned.
struct PictureView {
  const uint8_t* rgb = nullptr;  // [height, width, 3]
  int64_t width = 0;
  int64_t height = 0;
  int64_t stride = 0;  // bytes from one row to the next
};

using Colour = std::array<uint8_t, 3>;

// Writes uint8 [rows.count, columns.count, 3] to `out`: the wanted window of the resized canvas.
// Takes time and memory in proportion to the picture and the window, not to the canvas. First along
// rows, then along columns, 8 bits between, as Pillow up to 12 does (13 exchanges the two for some
// pictures that are not square, which changes low bits).
void ResizeBicubic(const PictureView& picture, const ResizeAxis& columns, const ResizeAxis& rows,
                   const Colour& pad_colour, uint8_t* out);

}  // namespace llavamini
