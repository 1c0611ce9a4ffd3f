// Bytes of a video file from outside -> frames, exactly those of PyAV's to_ndarray("rgb24"): not
// rotated, in presentation order. MP4, MOV, MKV, WebM and AVI by their first bytes, with common
// codecs. One thread, nothing but the bytes is ever opened. Safe from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/image/picture.h"
#include "server/media/media_error.h"

namespace llavamini {

struct VideoLimits {
  int64_t max_bytes = 64 << 20;
  int64_t max_pixels = 16'700'000;  // of one frame
  int64_t max_side = 4096;
  int64_t max_frames = 200'000;                  // of the file, sampled or not
  int64_t max_decoded_pixels = 200'000'000'000;  // of all frames of the file together
};

// Asked again and again during the work; not OK ends it with that status.
using StopCheck = std::function<absl::Status()>;

struct VideoFacts {
  int64_t frames = 0;            // at least 1
  double frames_per_second = 1;  // on average, as the container says or its first frames show
};

// Finds out what is in the file, where the codec allows it without decoding. Errors carry a
// MediaFailure (media_error.h), their text never decoder text or content; or are the StopCheck's.
absl::StatusOr<VideoFacts> InspectVideo(std::string_view bytes, const VideoLimits& limits,
                                        const StopCheck& stop);

// Gets the position in `frames`, not the frame's own number. Not OK ends the work with that status.
using FrameSink = std::function<absl::Status(size_t position, const Picture& frame)>;

// Decodes the whole file, so that damage behind the last wanted frame is found as well, and hands
// over `frames` (numbers in ascending order, all below facts.frames; one may be there several
// times) one by one. Errors as above; kCorrupt when the file has not as many frames as `facts`, of
// InspectVideo, says.
absl::Status DecodeFrames(std::string_view bytes, const VideoFacts& facts,
                          const std::vector<int64_t>& frames, const VideoLimits& limits,
                          const StopCheck& stop, const FrameSink& sink);

}  // namespace llavamini
