#include "tests/server/engine/fake_images.h"

#include <cstring>
#include <utility>

namespace llavamini {

uint64_t Mix(uint64_t a, uint64_t b) {  // splitmix64's finaliser
  uint64_t x = a * 0x9E3779B97F4A7C15u + b + 0x632BE59BD9B4E019u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::shared_ptr<const ImageInput> FakeImageInput(uint64_t content, int resolution_ratio) {
  auto input = std::make_shared<ImageInput>();
  input->resolution_ratio = resolution_ratio;
  input->parts.resize(sizeof(content));
  std::memcpy(input->parts.data(), &content, sizeof(content));
  return input;
}

uint64_t ContentOf(const ImageInput& input) {
  uint64_t content = 0;
  std::memcpy(&content, input.parts.data(), sizeof(content));
  return content;
}

uint64_t FakePromptName(absl::Span<const TokenId> prompt) {
  uint64_t name = 0;
  for (const TokenId id : prompt) name = Mix(name, static_cast<uint64_t>(id));
  return name;
}

FakeEncodedImage::FakeEncodedImage(uint64_t content, size_t bytes, Census alive, bool on_host)
    : content_(content), bytes_(bytes), on_host_(on_host), alive_(std::move(alive)) {
  ++*alive_;
}

FakeEncodedImage::~FakeEncodedImage() { --*alive_; }

FakeFusedPrompt::FakeFusedPrompt(uint64_t prompt_name, int64_t images, Census census)
    : name(prompt_name), images_wanted(images), alive(std::move(census)) {
  ++*alive;
}

FakeFusedPrompt::~FakeFusedPrompt() { --*alive; }

}  // namespace llavamini
