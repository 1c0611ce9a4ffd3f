// Which frames of a video the model sees. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace llavamini {

// As the contract's FrameSampling. At most one of fps and num_frames; neither: one frame a second.
struct FrameSampling {
  std::optional<double> fps = {};
  std::optional<uint32_t> num_frames = {};
  std::optional<uint32_t> max_frames = {};
  double start_seconds = 0;
  std::optional<double> end_seconds = {};  // empty: the end of the file
};

// Frame i of a video stands at i / frames_per_second; the part is [start, end). With T frames in
// the part, N = floor(T / frames_per_second * fps), or num_frames, then clipped to [1, min(T,
// max_frames, server_max_frames)]. With segment = (T - 1) / N, frame i is the middle (floor of the
// mean) of [round(segment * i), round(segment * (i + 1))], half to even, counted from the part's
// first frame. This is the published sampling where nothing is asked for. Empty when no frame
// stands in the part. `sampling` is valid (server/prepare/validate.h), frames_per_second > 0.
std::vector<int64_t> SampleFrames(const FrameSampling& sampling, int64_t total_frames,
                                  double frames_per_second, int64_t server_max_frames);

}  // namespace llavamini
