#include "model/image/resize.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace llavamini {
namespace {

constexpr int64_t kChannels = 3;
constexpr int64_t kRowBlock = 16;

// Lines of pixels of one channel, widened to 16 bits, each followed by zeros for the windows that
// reach past its end.
class Lines {
 public:
  Lines(int64_t count, int64_t length)
      : pitch_(length + kTapGroup), pixels_(static_cast<size_t>(count * pitch_)) {}

  int16_t* operator[](int64_t line) { return pixels_.data() + line * pitch_; }

 private:
  int64_t pitch_;
  std::vector<int16_t> pixels_;
};

void SplitChannels(const uint8_t* rgb, int64_t count, int16_t* red, int16_t* green, int16_t* blue) {
  for (int64_t pixel = 0; pixel < count; ++pixel) {
    red[pixel] = rgb[pixel * kChannels];
    green[pixel] = rgb[pixel * kChannels + 1];
    blue[pixel] = rgb[pixel * kChannels + 2];
  }
}

// One resampled value. A product of `low` is below 2^15, so 32 bits hold the sum of 65536 taps.
uint8_t Resample(const AxisFilter& filter, const FilterWindow& window, const int16_t* pixels,
                 int64_t pad) {
  const int16_t* high = filter.high.data() + window.weights;
  const int16_t* low = filter.low.data() + window.weights;
  int32_t high_sum = 0;
  int32_t low_sum = 0;
  for (int64_t group = 0; group < window.taps; group += kTapGroup) {
    for (int64_t tap = group; tap < group + kTapGroup; ++tap) high_sum += high[tap] * pixels[tap];
    for (int64_t tap = group; tap < group + kTapGroup; ++tap) low_sum += low[tap] * pixels[tap];
  }
  const int64_t sum =
      int64_t{high_sum} * 256 + low_sum + pad * window.outside + (int64_t{1} << (kWeightBits - 1));
  return static_cast<uint8_t>(std::clamp<int64_t>(sum >> kWeightBits, 0, 255));
}

// Rows [row, row + row_count) of the columns that the filter reads, as lines: red ones, green ones,
// blue ones.
void LoadRows(const PictureView& picture, const AxisFilter& filter, int64_t row, int64_t row_count,
              Lines& lines) {
  for (int64_t index = 0; index < row_count; ++index) {
    const uint8_t* rgb =
        picture.rgb + (row + index) * picture.stride + filter.source_begin * kChannels;
    SplitChannels(rgb, filter.source_end - filter.source_begin, lines[index],
                  lines[kRowBlock + index], lines[2 * kRowBlock + index]);
  }
}

// The picture resampled along its rows: uint8 [3, filter.windows.size(), row_count], that is,
// transposed, so that the second pass also reads contiguous pixels. Only the rows [row_begin,
// row_begin + row_count) that the second pass needs.
std::vector<uint8_t> ResampleRows(const PictureView& picture, const AxisFilter& filter,
                                  int64_t row_begin, int64_t row_count, const Colour& pad_colour) {
  const int64_t column_count = static_cast<int64_t>(filter.windows.size());
  std::vector<uint8_t> resampled(static_cast<size_t>(kChannels * column_count * row_count));
  Lines lines(kChannels * kRowBlock, filter.source_end - filter.source_begin);
  for (int64_t block = 0; block < row_count; block += kRowBlock) {
    const int64_t block_rows = std::min(kRowBlock, row_count - block);
    LoadRows(picture, filter, row_begin + block, block_rows, lines);
    for (int64_t channel = 0; channel < kChannels; ++channel) {
      const int64_t pad = pad_colour[static_cast<size_t>(channel)];
      uint8_t* out = resampled.data() + channel * column_count * row_count + block;
      for (const FilterWindow& window : filter.windows) {
        for (int64_t row = 0; row < block_rows; ++row) {
          const int16_t* pixels =
              lines[channel * kRowBlock + row] + window.source - filter.source_begin;
          out[row] = Resample(filter, window, pixels, pad);
        }
        out += row_count;
      }
    }
  }
  return resampled;
}

void FillWith(const Colour& colour, int64_t pixels, uint8_t* out) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    std::copy(colour.begin(), colour.end(), out + pixel * kChannels);
  }
}

bool IsIdentity(const ResizeAxis& axis) { return axis.resized == axis.canvas; }

// The bicubic filter is 1 at 0 and 0 at all other whole numbers: a picture that keeps its size is
// only moved.
void CopyUnscaled(const PictureView& picture, const ResizeAxis& columns, const ResizeAxis& rows,
                  uint8_t* out) {
  const int64_t left = std::max(columns.offset, columns.first);
  const int64_t right = std::min(columns.offset + columns.length, columns.first + columns.count);
  const int64_t top = std::max(rows.offset, rows.first);
  const int64_t bottom = std::min(rows.offset + rows.length, rows.first + rows.count);
  for (int64_t row = top; row < bottom && left < right; ++row) {
    const uint8_t* source =
        picture.rgb + (row - rows.offset) * picture.stride + (left - columns.offset) * kChannels;
    std::copy(source, source + (right - left) * kChannels,
              out + ((row - rows.first) * columns.count + left - columns.first) * kChannels);
  }
}

}  // namespace

// A constant area stays exactly that constant: the rounded weights of a window of t taps sum to
// 2^22 with an error below t / 2, which times 255 is less than half of 2^22 for every window of up
// to 16,000 taps.
void ResizeBicubic(const PictureView& picture, const ResizeAxis& columns, const ResizeAxis& rows,
                   const Colour& pad_colour, uint8_t* out) {
  if (IsIdentity(columns) && IsIdentity(rows)) {
    FillWith(pad_colour, rows.count * columns.count, out);
    return CopyUnscaled(picture, columns, rows, out);
  }
  const AxisFilter column_filter = MakeAxisFilter(columns);
  const AxisFilter row_filter = MakeAxisFilter(rows);
  const int64_t row_count = row_filter.source_end - row_filter.source_begin;
  const int64_t column_count = static_cast<int64_t>(column_filter.windows.size());
  FillWith(pad_colour, rows.count * columns.count, out);
  const std::vector<uint8_t> resampled =
      ResampleRows(picture, column_filter, row_filter.source_begin, row_count, pad_colour);
  Lines lines(1, row_count);
  for (int64_t channel = 0; channel < kChannels; ++channel) {
    for (int64_t column = 0; column < column_count; ++column) {
      const uint8_t* source = resampled.data() + (channel * column_count + column) * row_count;
      std::copy(source, source + row_count, lines[0]);
      uint8_t* target =
          out + (row_filter.first * columns.count + column_filter.first + column) * kChannels +
          channel;
      for (const FilterWindow& window : row_filter.windows) {
        const int16_t* pixels = lines[0] + window.source - row_filter.source_begin;
        *target = Resample(row_filter, window, pixels, pad_colour[static_cast<size_t>(channel)]);
        target += columns.count * kChannels;
      }
    }
  }
}

}  // namespace llavamini
