// The cache's name of an image. Pure; safe from any thread.
#pragma once

#include <string_view>

#include "model/image/picture.h"
#include "server/engine/request.h"

namespace llavamini {

enum class PictureKind { kStill, kFrame };

// SHA-256 over the kind, every option that the encoding depends on, and the file's bytes.
ImageKey MakeImageKey(std::string_view bytes, PictureKind kind, const ImageInputOptions& options);

}  // namespace llavamini
