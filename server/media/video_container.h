// What can be told of a video file without any decoder's code. Called by video_stream.cc. Pure;
// safe from any thread.
#pragma once

#include <optional>
#include <string_view>

namespace llavamini {

enum class VideoContainer { kMov, kMatroska, kAvi };

// By the first bytes: MP4 and MOV, MKV and WebM, AVI; empty for everything else.
std::optional<VideoContainer> VideoContainerOf(std::string_view bytes);

// Whether the container's outermost lengths promise more bytes than there are. False where it
// promises nothing (a live WebM, for one).
bool IsCutOff(std::string_view bytes, VideoContainer container);

}  // namespace llavamini
