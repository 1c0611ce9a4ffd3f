// Drives a model as the engine does, with made-up pictures and texts, for llavamini-stages.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace llavamini {

inline constexpr int kTextTokens = 40;
inline constexpr int kPagesPerPlace = 16;
inline constexpr int kMostImages = 32;  // that Encode() takes

double Now();  // milliseconds

class ModelDriver {
 public:
  // side: of a picture, in pixels. The model has places · kPagesPerPlace pages.
  ModelDriver(Model* model, int side, int places);

  std::vector<EncodedImagePtr> Encode(int count);

  // The first token of a prompt of 40 text tokens about an image, or of 41 without.
  void First(Place place, const std::vector<EncodedImagePtr>& image);

  // Milliseconds a step of so many sequences, the next launched before the last is collected.
  double Decode(int rows, int steps);

  // One more step of the sequences of the last Decode(); collects the oldest that is launched.
  void Step(int rows);

  // Frames a second through encoding and fusion with 40 text tokens.
  double FramesPerSecond(int batch, int frames);

 private:
  void LaunchPrompts(int rows);
  void LaunchRows(int rows);

  Model* model_;
  std::vector<ImageInput> inputs_;
  std::vector<TokenId> text_, with_image_;
  std::vector<std::vector<int32_t>> pages_;  // by place
  const SamplingParams greedy_;
  int32_t position_ = 0;
};

}  // namespace llavamini
