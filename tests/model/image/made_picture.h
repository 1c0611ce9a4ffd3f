// Pictures made by formula, the same as in tests/golden/image_goldens.py.
#pragma once

#include <string_view>

#include "model/image/picture.h"

namespace llavamini {

// style: "noise", "black and white" or "waves".
Picture MadePicture(int width, int height, std::string_view style);

}  // namespace llavamini
