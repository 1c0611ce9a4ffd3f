// The cache's name of an image. Pure; safe from any thread.
#pragma once

#include <string_view>

#include "model/image/picture.h"
#include "server/engine/request.h"

namespace llavamini {

enum class PictureKind { kStill, kFrame, kVideo };

// SHA-256 over the kind, every option that the encoding depends on, and the file's bytes.
// kVideo: the file's key, of which FrameKey makes its frames' keys.
ImageKey MakeImageKey(std::string_view bytes, PictureKind kind, const ImageInputOptions& options);

// SHA-256 over a video's key and a frame's number in the file.
ImageKey FrameKey(const ImageKey& video, int64_t frame);

}  // namespace llavamini
