#include "server/media/video_sampling.h"

#include <algorithm>
#include <cmath>

namespace llavamini {
namespace {

// The first frame at or after a time, at most `total`.
int64_t FrameAt(double seconds, double frames_per_second, int64_t total) {
  const double frame = std::ceil(seconds * frames_per_second);
  return frame >= static_cast<double>(total) ? total : static_cast<int64_t>(frame);
}

int64_t WantedFrames(const FrameSampling& sampling, int64_t part_frames, double frames_per_second) {
  if (sampling.num_frames) return *sampling.num_frames;
  const double wanted =
      static_cast<double>(part_frames) / frames_per_second * sampling.fps.value_or(1.0);
  if (wanted >= static_cast<double>(part_frames)) return part_frames;
  return static_cast<int64_t>(wanted);
}

// Half to even, in the default rounding mode.
int64_t Round(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

}  // namespace

std::vector<int64_t> SampleFrames(const FrameSampling& sampling, int64_t total_frames,
                                  double frames_per_second, int64_t server_max_frames) {
  const int64_t first = FrameAt(sampling.start_seconds, frames_per_second, total_frames);
  const int64_t end = sampling.end_seconds
                          ? FrameAt(*sampling.end_seconds, frames_per_second, total_frames)
                          : total_frames;
  const int64_t part_frames = end - first;
  if (part_frames < 1) return {};
  int64_t most = std::min(part_frames, server_max_frames);
  if (sampling.max_frames) most = std::min<int64_t>(most, *sampling.max_frames);
  const int64_t count =
      std::clamp<int64_t>(WantedFrames(sampling, part_frames, frames_per_second), 1, most);
  const double segment = static_cast<double>(part_frames - 1) / static_cast<double>(count);
  std::vector<int64_t> frames;
  frames.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = Round(segment * static_cast<double>(i));
    const int64_t finish = Round(segment * static_cast<double>(i + 1));
    frames.push_back(first + (begin + finish) / 2);
  }
  return frames;
}

}  // namespace llavamini
