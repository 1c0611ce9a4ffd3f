// Images, inputs and prompts of the fake model: only numbers that name their content.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/model.h"

namespace llavamini {

// How many of something there are; outlives the model that made them.
using Census = std::shared_ptr<std::atomic<int64_t>>;
inline Census MakeCensus() { return std::make_shared<std::atomic<int64_t>>(0); }

// A well mixed hash of two numbers.
uint64_t Mix(uint64_t a, uint64_t b);

// An input whose pixels are only a number.
std::shared_ptr<const ImageInput> FakeImageInput(uint64_t content, int resolution_ratio);
uint64_t ContentOf(const ImageInput& input);

// What a prompt is called in calls that know no more of its request.
uint64_t FakePromptName(absl::Span<const TokenId> prompt);

// What the fake makes of an image.
class FakeEncodedImage : public EncodedImage {
 public:
  FakeEncodedImage(uint64_t content, size_t bytes, Census alive, bool on_host = false);
  ~FakeEncodedImage() override;
  size_t bytes() const override { return bytes_; }
  bool on_host() const override { return on_host_; }
  uint64_t content() const { return content_; }

 private:
  const uint64_t content_;
  const size_t bytes_;
  const bool on_host_;
  const Census alive_;
};

struct FakeFusedPrompt : FusedPrompt {
  FakeFusedPrompt(uint64_t prompt_name, int64_t images, Census census);
  ~FakeFusedPrompt() override;
  const uint64_t name;
  const int64_t images_wanted;
  std::vector<uint64_t> contents;  // in the order in which they were fused
  const Census alive;
};

}  // namespace llavamini
