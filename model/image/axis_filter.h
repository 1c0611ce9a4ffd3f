// The filter weights of one axis of Pillow's 8-bit bicubic resize. Called by resize.cc. Pure; safe
// from any thread.
#pragma once

#include <cstdint>
#include <vector>

namespace llavamini {

// One axis of a resize. The canvas is `canvas` pixels long; the picture covers [offset, offset +
// length) of it and the pad colour the rest. It is resized to `resized` pixels, of which [first,
// first + count) are wanted.
struct ResizeAxis {
  int64_t canvas = 0;
  int64_t offset = 0;
  int64_t length = 0;
  int64_t resized = 0;
  int64_t first = 0;
  int64_t count = 0;
};

// Weights are fixed point with 22 fractional bits, as in Pillow (32 bits less 8 of the pixel and 2
// of headroom), held as two 16-bit factors, weight = high * 256 + low, because processors multiply
// and add pairs of those.
inline constexpr int kWeightBits = 22;
inline constexpr int kTapGroup = 8;  // windows are filled up with zero weights to a multiple of it

struct FilterWindow {
  int64_t source = 0;   // first picture pixel, counted from the picture's own start
  int64_t taps = 0;     // a multiple of kTapGroup; may reach up to kTapGroup - 1 past the picture's
                        // end, with weight zero
  int64_t weights = 0;  // where its weights start in high and low
  int64_t outside = 0;  // sum of the weights of pad pixels
};

struct AxisFilter {
  // Wanted outputs [first, first + windows.size()), counted from ResizeAxis::first, depend on the
  // picture; the others are pad colour.
  int64_t first = 0;
  std::vector<FilterWindow> windows;
  std::vector<int16_t> high;
  std::vector<int16_t> low;
  // The picture pixels that some window reads: [source_begin, source_end).
  int64_t source_begin = 0;
  int64_t source_end = 0;
};

AxisFilter MakeAxisFilter(const ResizeAxis& axis);

}  // namespace llavamini
