// Random damage to small good files, from a fixed seed: the parsers never crash, and what they
// accept is sound. Meant to be run under AddressSanitizer and UndefinedBehaviorSanitizer as well.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "model/checkpoint/model_config.h"
#include "model/checkpoint/safetensors.h"
#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

constexpr int kMutations = 10'000;

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  std::string operator()(std::string text) {
    const size_t edits = 1 + Below(3);
    for (size_t i = 0; i < edits; ++i) Edit(text);
    return text;
  }

 private:
  size_t Below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void Edit(std::string& text) {
    static const std::vector<std::string> kTokens = {"{",
                                                     "}",
                                                     "[",
                                                     "]",
                                                     "\"",
                                                     ",",
                                                     ":",
                                                     "-",
                                                     "0",
                                                     "9",
                                                     "1e9",
                                                     ".5",
                                                     "null",
                                                     "true",
                                                     "\\u0000",
                                                     "9223372036854775807",
                                                     "18446744073709551615",
                                                     "-1",
                                                     "[[[[[[[[",
                                                     "\xff",
                                                     "F64",
                                                     "\n"};
    const size_t place = Below(text.size() + 1);
    const size_t length = Below(9);
    switch (Below(6)) {
      case 0:
        if (place < text.size()) text[place] = static_cast<char>(Below(256));
        break;
      case 1:
        if (place < text.size()) text[place] = static_cast<char>(text[place] ^ (1 << Below(8)));
        break;
      case 2:
        text.erase(place, length);
        break;
      case 3:
        text.insert(place, kTokens[Below(kTokens.size())]);
        break;
      case 4:
        text.insert(place, text.substr(Below(text.size() + 1), length));
        break;
      default:
        if (Below(8) == 0) text.resize(place);
    }
  }

  std::mt19937_64 random_;
};

void ExpectSound(std::span<const std::byte> file, const std::vector<TensorInfo>& tensors) {
  size_t bytes = 0;
  for (const TensorInfo& tensor : tensors) {
    ASSERT_GE(tensor.data.data(), file.data());
    ASSERT_LE(tensor.data.data() + tensor.data.size(), file.data() + file.size());
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    ASSERT_EQ(elements, tensor.elements);
    ASSERT_EQ(static_cast<size_t>(elements * TensorTypeSize(tensor.type)), tensor.data.size());
    bytes += tensor.data.size();
  }
  ASSERT_LE(bytes, file.size());
}

TEST(SafetensorsFuzz, NeverCrashesAndAcceptsOnlySoundFiles) {
  const std::string good =
      WriteSafetensors({CountingTensor("a", "F16", {2, 3}), CountingTensor("b", "F32", {4}),
                        CountingTensor("c", "BF16", {0}), CountingTensor("d", "U8", {3})},
                       {{"format", "pt"}});
  Mutator mutate(1);
  int accepted = 0, refused = 0;
  for (int i = 0; i < kMutations; ++i) {
    const std::string text = mutate(good);
    // A buffer of exactly the file's size, so that a sanitizer sees the first byte beyond it.
    const auto* begin = reinterpret_cast<const std::byte*>(text.data());
    const std::vector<std::byte> file(begin, begin + text.size());
    const absl::StatusOr<std::vector<TensorInfo>> tensors = ParseSafetensors(file);
    ++(tensors.ok() ? accepted : refused);
    if (tensors.ok()) {
      ExpectSound(file, *tensors);
    } else {
      ASSERT_EQ(tensors.status().message().find('\n'), absl::string_view::npos);
    }
  }
  EXPECT_GT(accepted, kMutations / 100);
  EXPECT_GT(refused, kMutations / 2);
}

TEST(ModelConfigFuzz, NeverCrashesAndAcceptsOnlyBoundedSizes) {
  const std::string good = GoodConfig().dump();
  Mutator mutate(2);
  int accepted = 0, refused = 0;
  for (int i = 0; i < kMutations; ++i) {
    const absl::StatusOr<ModelConfig> config = ParseModelConfig(mutate(good));
    ++(config.ok() ? accepted : refused);
    if (config.ok()) {
      ASSERT_GT(config->head_dim, 0);
      ASSERT_LT(config->vocab_size * config->hidden_size, int64_t{1} << 40);
      ASSERT_EQ(config->num_attention_heads % config->num_key_value_heads, 0);
      ASSERT_LT(config->bos_token_id, config->vocab_size);
      ASSERT_FALSE(config->eos_token_ids.empty());
      ASSERT_GT(config->vision.grid(), 0);
    } else {
      ASSERT_EQ(config.status().message().find('\n'), absl::string_view::npos);
    }
  }
  EXPECT_GT(accepted, kMutations / 100);
  EXPECT_GT(refused, kMutations / 2);
}

}  // namespace
}  // namespace llavamini
