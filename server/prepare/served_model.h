// What the server serves and the limits of a call: made once at start-up, then only read.
#pragma once

#include <cstdint>
#include <string>

#include "model/checkpoint/model_config.h"

namespace llavamini {

// Facts of the served model that preparing a call needs.
struct ServedModel {
  std::string name;
  int64_t vocab_size = 0;
  int64_t max_context_tokens = 0;  // prompt and answer together
  int32_t tokens_per_image = 1;
  int resolution_ratio = 1;  // the checkpoint's own choice of detail
  int image_side = 336;      // CLIP's input
  bool pad_to_square = true;
  GenerationDefaults defaults;
};

// The table of limits of one call.
struct CallLimits {
  int64_t max_messages = 1024;
  int64_t max_text_bytes = 1 << 20;  // all texts of a conversation together
  int64_t max_images = 1;            // media parts: the model was trained with one
  int64_t max_frames = 256;          // of a frame sequence, or sampled of a video
  int64_t max_request_id_bytes = 128;
  int64_t max_stop_strings = 16;
  int64_t max_stop_bytes = 256;
  int64_t max_top_logprobs = 20;
  int64_t default_max_tokens = 512;
  float max_temperature = 2;
  float max_repetition_penalty = 2;
  float max_penalty = 2;  // frequency and presence: [-2, 2]
};

}  // namespace llavamini
