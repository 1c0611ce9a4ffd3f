// The other operations of the visual part: patches, erf-GELU, keys and values that are kept, and
// attention of equally long runs. The twins against their formulas, the kernels against the twins.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "model/ops.h"
#include "tests/model/kernel_test.h"
#include "tests/model/tolerance.h"

namespace llavamini {
namespace {

at::Tensor Gpu(const at::Tensor& x) { return x.to(at::kCUDA); }

ops::PixelScale Scale() {
  return {at::tensor({0.48F, 0.45F, 0.4F}), at::tensor({0.2F, 0.3F, 0.5F})};
}

TEST(Patches, HoldTheirPixelsByChannelRowAndColumn) {
  const at::Tensor pictures =
      at::randint(0, 256, {2, 7, 7, 3}, at::kByte);  // a column is left over
  const at::Tensor out = ops::Patches(pictures, Scale(), {2, 3, 32}, at::kFloat);
  ASSERT_EQ(out.sizes(), (std::vector<int64_t>{8, 32}));
  for (int64_t row = 0; row < 8; ++row) {
    const int64_t top = row / 2 % 2 * 3, left = row % 2 * 3;
    for (int64_t i = 0; i < 27; ++i) {
      const int64_t channel = i / 9, y = top + i / 3 % 3, x = left + i % 3;
      const double pixel = pictures[row / 4][y][x][channel].item<uint8_t>() / 255.0;
      const double expected =
          (pixel - Scale().mean[channel].item<float>()) / Scale().deviation[channel].item<float>();
      EXPECT_NEAR(out[row][i].item<float>(), expected, 1e-5) << row << ", " << i;
    }
    EXPECT_EQ(out[row].slice(0, 27).count_nonzero().item<int64_t>(), 0);
  }
}

TEST(Gelu, IsErfsInPlace) {
  at::Tensor x = Random({100}, at::kFloat);
  const at::Tensor before = x.clone();
  ops::Gelu(x);
  for (int64_t i = 0; i < 100; ++i) {
    const double v = before[i].item<float>();
    EXPECT_NEAR(x[i].item<float>(), v * 0.5 * std::erfc(-v / std::sqrt(2.0)), 1e-6);
  }
}

TEST(RotateKeep, TurnsAsRotateAndKeepsKeysAndValuesByRun) {
  const ops::HeadShape heads{3, 2, 4};
  const at::Tensor before = Random({6, 28}, at::kFloat);
  const at::Tensor positions = at::tensor({0, 1, 2, 0, 1, 2}, at::kInt);
  const ops::RopeTable rope = RandomRope(3, 4);
  at::Tensor turned = before.clone(), qkv = before.clone();
  ops::Rotate(turned, heads, rope, positions);
  const at::Tensor all = at::zeros({2, 5, 2, 3, 8});  // as images keep them, five layers
  ops::RotateKeep(qkv, heads, rope, positions,
                  {all.select(1, 3).select(1, 0), all.select(1, 3).select(1, 1)});
  EXPECT_TRUE(at::equal(qkv, turned));
  for (int64_t row = 0; row < 6; ++row) {
    const at::Tensor kept = all[row / 3][3].select(1, row % 3);
    EXPECT_TRUE(at::equal(kept[0], heads.Keys(turned)[row].flatten()));
    EXPECT_TRUE(at::equal(kept[1], before[row].slice(0, 20)));
  }
  EXPECT_EQ(all.count_nonzero().item<int64_t>(), 6 * 16) << "nothing else is written";
}

// ------------------------------------------------------------------ on a GPU

class VisionKernels : public KernelTest {};

TEST_P(VisionKernels, PatchesEqualTheirTwinsBitForBit) {
  for (const auto& [side, grid, patch, width] :
       {std::array{336, 24, 14, 592}, {336, 24, 14, 588}, {32, 4, 8, 192}, {7, 2, 3, 27}}) {
    const at::Tensor pictures = at::randint(0, 256, {3, side, side, 3}, at::kByte);
    const ops::PatchShape shape{grid, patch, width};
    const at::Tensor out =
        ops::Patches(Gpu(pictures), {Gpu(Scale().mean), Gpu(Scale().deviation)}, shape, GetParam());
    EXPECT_TRUE(at::equal(out.cpu(), ops::plain::Patches(pictures, Scale(), shape, GetParam())))
        << side;
  }
}

TEST_P(VisionKernels, GeluEqualsItsTwin) {
  for (const int64_t count : {1, 7, 4096, 100003}) {
    at::Tensor x = Random({count}, GetParam()), wide = Wide(x);
    x = Gpu(x);
    ops::Gelu(x);
    ops::plain::Gelu(wide);
    ExpectClose(x, wide, tolerance(), "erf GELU of " + std::to_string(count));
  }
}

TEST_P(VisionKernels, RotateKeepEqualsItsTwin) {
  for (const ops::HeadShape& heads :
       {ops::HeadShape{32, 8, 128}, {0, 8, 128}, {4, 4, 64}, {6, 2, 16}, {6, 2, 8}}) {
    const int64_t runs = 3, rows = 11;
    const ops::RopeTable rope = RandomRope(rows, heads.dim);
    const at::Tensor positions = at::arange(rows, at::kInt).repeat({runs});
    at::Tensor qkv = Random(
        {runs * rows, (heads.query_heads + 2 * heads.key_value_heads) * heads.dim}, GetParam());
    at::Tensor gpu = Gpu(qkv);
    const at::Tensor kept =
        at::zeros({runs, 4, 2, rows, heads.key_value_heads * heads.dim}, qkv.options());
    const at::Tensor gpu_kept = Gpu(kept);
    const auto layer = [](const at::Tensor& all) {
      return ops::KeptRows{all.select(1, 2).select(1, 0), all.select(1, 2).select(1, 1)};
    };
    ops::RotateKeep(gpu, heads, {Gpu(rope.cos), Gpu(rope.sin)}, Gpu(positions), layer(gpu_kept));
    ops::plain::RotateKeep(qkv, heads, rope, positions, layer(kept));
    const std::string what = "heads of " + std::to_string(heads.dim);
    ExpectClose(gpu, qkv, tolerance(), what);
    ExpectClose(gpu_kept, kept, tolerance(), what + ", kept");
    EXPECT_TRUE(at::equal(layer(gpu_kept).values.flatten(0, 1), heads.Values(gpu).flatten(1)));
    EXPECT_EQ(gpu_kept.select(1, 3).count_nonzero().item<int64_t>(), 0);
  }
}

// As at start-up, when cuDNN's attention is tried, and afterwards, when what worked is taken.
TEST_P(VisionKernels, AttentionOfEqualRunsEqualsItsTwin) {
  struct Case {
    ops::HeadShape heads;
    int64_t runs, query_rows, rows;
    bool causal;
  };
  for (const Case& c : {Case{{16, 16, 64}, 1, 577, 577, false},
                        {{16, 16, 64}, 2, 577, 577, false},
                        {{16, 16, 64}, 3, 577, 577, false},
                        {{4, 4, 64}, 5, 65, 65, false},
                        {{2, 2, 64}, 1, 700, 700, false},
                        {{32, 8, 128}, 2, 577, 577, true},
                        {{32, 8, 128}, 2, 1, 577, true},
                        {{8, 2, 128}, 3, 5, 40, true},
                        {{4, 4, 32}, 2, 17, 17, false}}) {
    const ops::HeadShape& heads = c.heads;
    const at::Tensor qkv = Random(
        {c.runs * c.rows, (heads.query_heads + 2 * heads.key_value_heads) * heads.dim}, GetParam());
    const std::vector<int64_t> asked(c.runs, c.query_rows), all(c.runs, c.rows);
    const auto queries = [&](const at::Tensor& from) {  // the last of each run
      const at::Tensor q = heads.Queries(from);
      if (c.query_rows == c.rows) return q;
      return q.unflatten(0, {c.runs, -1}).slice(1, c.rows - c.query_rows).flatten(0, 1);
    };
    const at::Tensor wide = Wide(qkv), gpu = Gpu(qkv);
    const at::Tensor expected =
        ops::plain::AttendSegments(queries(wide), heads.Keys(wide), heads.Values(wide),
                                   ops::MakeSegments(asked, all, at::kCPU), c.causal);
    const ops::Segments segments = ops::MakeSegments(asked, all, gpu.device());
    for (const bool starting : {false, true, false}) {
      ops::SetTimingProducts(starting);
      const at::Tensor out =
          ops::AttendSegments(queries(gpu), heads.Keys(gpu), heads.Values(gpu), segments, c.causal);
      ops::SetTimingProducts(false);
      ExpectClose(out, expected, tolerance(),
                  std::to_string(c.runs) + " runs of " + std::to_string(c.rows) + ", heads of " +
                      std::to_string(heads.dim) + (starting ? ", starting" : ""));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, VisionKernels, kKernelDtypes, DtypeOfTest);

}  // namespace
}  // namespace llavamini
