// Decoded pixels, and how they become the CLIP tower's input. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <vector>

namespace llavamini {

// 8-bit RGB, rows from the top, three bytes a pixel, no padding between rows.
struct Picture {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

// One still image or video frame, ready for CLIP.
struct ImageInput {
  // n; the parts are n*n crops row by row (n > 1), then the whole picture last.
  int resolution_ratio = 1;
  int side = 0;                // CLIP's image_size
  std::vector<uint8_t> parts;  // uint8 [S, side, side, 3], S = n == 1 ? 1 : n*n + 1

  int part_count() const {
    return resolution_ratio == 1 ? 1 : resolution_ratio * resolution_ratio + 1;
  }
};

struct ImageInputOptions {
  int resolution_ratio = 1;
  int side = 336;
  bool pad_to_square = true;  // centred on a square of the mean colour (122, 116, 104)
};

// Crops, padding, PIL-exact bicubic resize of the shorter side to `side`, centre crop. The padded
// square is never built.
ImageInput MakeImageInput(const Picture& picture, const ImageInputOptions& options);

// A video's frame: resized to side x side by nearest neighbour (source index floor(dst * src /
// side)), aspect not kept, then cut into parts as above.
ImageInput MakeFrameInput(const Picture& frame, const ImageInputOptions& options);

}  // namespace llavamini
