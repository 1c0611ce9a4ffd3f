#include "tests/model/image/made_picture.h"

#include <cstdint>

namespace llavamini {
namespace {

uint32_t Mixed(int64_t value) {
  auto bits = static_cast<uint32_t>(value);
  bits ^= bits >> 16;
  bits *= 0x7FEB352D;
  bits ^= bits >> 15;
  bits *= 0x846CA68B;
  return bits ^ (bits >> 16);
}

}  // namespace

Picture MadePicture(int width, int height, std::string_view style) {
  Picture picture{width, height, {}};
  picture.rgb.reserve(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      for (int64_t channel = 0; channel < 3; ++channel) {
        int64_t value = 0;
        if (style == "noise") {
          value =
              Mixed((row * width + column) * 3 + channel + int64_t{width} * 7919 + height) >> 24;
        } else if (style == "black and white") {
          value = int64_t{Mixed(row / 3 * 8191 + column / 5 * 131 + channel) & 1} * 255;
        } else {
          value = row * row / 7 + column * 5 + row * column / 11 + channel * 85;
        }
        picture.rgb.push_back(static_cast<uint8_t>(value));
      }
    }
  }
  return picture;
}

}  // namespace llavamini
