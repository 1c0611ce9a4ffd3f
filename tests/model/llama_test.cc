// The LLaMA block by itself.
#include "model/llama.h"

#include <gtest/gtest.h>

#include <memory>

#include "model/checkpoint/checkpoint.h"

namespace llavamini {
namespace {

TEST(LlamaLayer, FinishesManyRowsAsItDoesFew) {
  ModelConfig config;
  config.hidden_size = 16;
  config.intermediate_size = 32;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 8;
  const std::unique_ptr<Checkpoint> checkpoint = Checkpoint::Dummy();
  const LlamaLayer layer(*checkpoint, "block.", config, /*fp8=*/false);
  constexpr int64_t kRows = 10'040;  // not a multiple of any slice
  at::manual_seed(1);
  const at::Tensor x = at::randn({kRows, 16}), attended = at::randn({kRows, 16});
  const auto [y, qkv] = layer.FinishAndProject(x, attended, layer.attention_norm, layer.qkv);
  ASSERT_EQ(y.size(0), kRows);
  ASSERT_EQ(qkv.size(0), kRows);
  EXPECT_TRUE(at::allclose(layer.Finish(x, attended), y));
  at::Tensor in_place = x.clone();
  layer.FinishInPlace(in_place, attended);
  EXPECT_TRUE(at::allclose(in_place, y));
  for (int64_t first = 0; first < kRows; first += 1004) {
    const auto [few, few_qkv] = layer.FinishAndProject(
        x.narrow(0, first, 1004), attended.narrow(0, first, 1004), layer.attention_norm, layer.qkv);
    EXPECT_TRUE(at::allclose(y.narrow(0, first, 1004), few, 1e-5, 1e-5)) << first;
    EXPECT_TRUE(at::allclose(qkv.narrow(0, first, 1004), few_qkv, 1e-5, 1e-5)) << first;
  }
}

}  // namespace
}  // namespace llavamini
