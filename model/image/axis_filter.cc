#include "model/image/axis_filter.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace llavamini {
namespace {

constexpr double kBicubicA = -0.5;
constexpr double kBicubicSupport = 2.0;

double Bicubic(double x) {
  x = std::fabs(x);
  if (x < 1.0) return ((kBicubicA + 2.0) * x - (kBicubicA + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * kBicubicA;
  return 0.0;
}

// Half away from zero.
int32_t ToFixedPoint(double weight) {
  const double scaled = weight * (1 << kWeightBits);
  return static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

// The weights of one output over the whole canvas, in Pillow's order of operations.
struct CanvasWindow {
  int64_t begin = 0;
  std::vector<double> weights;
};

void FillCanvasWindow(const ResizeAxis& axis, int64_t output, CanvasWindow& window) {
  const double scale = static_cast<double>(axis.canvas) / static_cast<double>(axis.resized);
  const double filter_scale = std::max(scale, 1.0);
  const double support = kBicubicSupport * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;
  const double center = (static_cast<double>(output) + 0.5) * scale;
  window.begin = std::max<int64_t>(static_cast<int64_t>(std::floor(center - support + 0.5)), 0);
  const int64_t end =
      std::min(static_cast<int64_t>(std::floor(center + support + 0.5)), axis.canvas);
  window.weights.resize(static_cast<size_t>(end - window.begin));
  double sum = 0;
  double position = static_cast<double>(window.begin);
  for (double& weight : window.weights) {
    weight = Bicubic((position - center + 0.5) * inverse_scale);
    sum += weight;
    position += 1;
  }
  if (sum == 0.0) return;
  for (double& weight : window.weights) weight /= sum;
}

// Appends the window's taps that lie in the picture; false when none does.
bool AppendWindow(const ResizeAxis& axis, const CanvasWindow& canvas, AxisFilter& filter) {
  const int64_t canvas_end = canvas.begin + static_cast<int64_t>(canvas.weights.size());
  const int64_t begin = std::max(canvas.begin, axis.offset);
  const int64_t end = std::min(canvas_end, axis.offset + axis.length);
  if (begin >= end) return false;
  FilterWindow window;
  window.source = begin - axis.offset;
  window.weights = static_cast<int64_t>(filter.high.size());
  for (int64_t position = canvas.begin; position < canvas_end; ++position) {
    const int32_t weight =
        ToFixedPoint(canvas.weights[static_cast<size_t>(position - canvas.begin)]);
    if (position < begin || position >= end) {
      window.outside += weight;
      continue;
    }
    const int32_t high = (weight + 128) >> 8;
    filter.high.push_back(static_cast<int16_t>(high));
    filter.low.push_back(static_cast<int16_t>(weight - high * 256));
  }
  const int64_t used = end - begin;
  window.taps = (used + kTapGroup - 1) / kTapGroup * kTapGroup;
  filter.high.resize(static_cast<size_t>(window.weights + window.taps));
  filter.low.resize(static_cast<size_t>(window.weights + window.taps));
  filter.source_begin = filter.windows.empty() ? window.source : filter.source_begin;
  filter.source_end = window.source + used;
  filter.windows.push_back(window);
  return true;
}

}  // namespace

AxisFilter MakeAxisFilter(const ResizeAxis& axis) {
  AxisFilter filter;
  CanvasWindow canvas;
  for (int64_t index = 0; index < axis.count; ++index) {
    FillCanvasWindow(axis, axis.first + index, canvas);
    const bool first_window = filter.windows.empty();
    if (AppendWindow(axis, canvas, filter) && first_window) filter.first = index;
  }
  return filter;
}

}  // namespace llavamini
