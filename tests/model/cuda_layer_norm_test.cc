// LayerNorm, of rows and of pictures' rows: the kernels against their twins.
#include <gtest/gtest.h>

#include <string>

#include "model/ops.h"
#include "tests/model/kernel_test.h"
#include "tests/model/tolerance.h"

namespace llavamini {
namespace {

constexpr double kEps = 1e-5;

// Nearer than two rounded formulas of any kind: the kernel rounds once, at the end.
Tolerance ToleranceOf(at::ScalarType dtype) {
  Tolerance tolerance = kFloat32;
  if (dtype == at::kHalf) tolerance.relative = 5e-4;
  if (dtype == at::kBFloat16) tolerance.relative = 4e-3;
  return tolerance;
}

struct LayerNormKernel : KernelTest {
  // The twin in float32, of what the kernel was given in its dtype.
  static void ExpectTwin(const at::Tensor& x, const std::string& what) {
    const int64_t width = x.size(-1);
    const at::Tensor weight = Random({width}, GetParam()), bias = Random({width}, GetParam());
    const at::Tensor out = ops::LayerNorm(x, weight.to(at::kCUDA), bias.to(at::kCUDA), kEps);
    const auto wide = [](const at::Tensor& t) { return t.to(at::kCPU, at::kFloat); };
    ExpectClose(out, ops::plain::LayerNorm(wide(x), wide(weight), wide(bias), kEps),
                ToleranceOf(GetParam()), what + ", width " + std::to_string(width));
  }
};

// 4104 and 12 are not the kernel's.
TEST_P(LayerNormKernel, EqualsItsTwinAtEveryWidth) {
  for (const int64_t width : {8, 12, 64, 256, 264, 1024, 1152, 2048, 3072, 4096, 4104}) {
    ExpectTwin(Random({13, width}, GetParam()).to(at::kCUDA), "rows");
  }
}

TEST_P(LayerNormKernel, TakesTheVarianceAboutTheMean) {
  at::Tensor x = Random({9, 1024}, GetParam());
  x[3].add_(50);  // the squares' mean minus the mean's square would lose all digits
  x[5].fill_(2);  // no variance at all
  ExpectTwin(x.to(at::kCUDA), "large mean");
}

TEST_P(LayerNormKernel, ReadsRunsOfRowsWhereTheyLie) {
  const at::Tensor x = Random({5, 7, 128}, GetParam()).to(at::kCUDA);
  ExpectTwin(x.slice(1, 1), "without each run's first row");
  ExpectTwin(x.select(1, 6), "each run's last row");
  ExpectTwin(x.transpose(0, 1), "transposed");
  ExpectTwin(x.slice(2, 0, 64), "half of each row");
}

TEST_P(LayerNormKernel, ANaNStaysInItsRow) {
  at::Tensor x = Random({6, 512}, GetParam());
  x[2][100] = NAN;
  const at::Tensor one = at::ones({512}, x.options()).to(at::kCUDA);
  const at::Tensor nan = ops::LayerNorm(x.to(at::kCUDA), one, one, kEps).cpu().isnan();
  EXPECT_TRUE(nan[2].all().item<bool>());
  EXPECT_EQ(nan.sum().item<int64_t>(), 512);
}

TEST_P(LayerNormKernel, PicturesRowsEqualTheirTwin) {
  for (const int64_t width : {64, 100, 1024}) {
    const int64_t pictures = 3, patches = 16;
    const at::Tensor first = Random({width}, GetParam()),
                     rows = Random({pictures * patches, width}, GetParam()),
                     positions = Random({patches + 1, width}, GetParam()),
                     weight = Random({width}, GetParam()), bias = Random({width}, GetParam());
    const auto gpu = [](const at::Tensor& t) { return t.to(at::kCUDA); };
    const at::Tensor out =
        ops::LayerNormPictures(gpu(first), gpu(rows), gpu(positions), gpu(weight), gpu(bias), kEps);
    ExpectClose(out, ops::plain::LayerNormPictures(first, rows, positions, weight, bias, kEps),
                ToleranceOf(GetParam()), "width " + std::to_string(width));
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, LayerNormKernel, kKernelDtypes, DtypeOfTest);

TEST(LayerNormPictures, IsWrittenOutRowByRow) {
  const at::Tensor first = Random({8}, at::kFloat), patches = Random({6, 8}, at::kFloat),
                   positions = Random({4, 8}, at::kFloat), weight = Random({8}, at::kFloat),
                   bias = Random({8}, at::kFloat);
  const at::Tensor out = ops::LayerNormPictures(first, patches, positions, weight, bias, kEps);
  ASSERT_EQ(out.sizes(), (std::vector<int64_t>{8, 8}));
  for (int64_t row = 0; row < 8; ++row) {
    const int64_t own = row % 4;
    const at::Tensor x = (own == 0 ? first : patches[row / 4 * 3 + own - 1]) + positions[own];
    const at::Tensor expected =
        (x - x.mean()) / (x.var(/*unbiased=*/false) + kEps).sqrt() * weight + bias;
    ExpectClose(out[row], expected, kFloat32, "row " + std::to_string(row));
  }
}

}  // namespace
}  // namespace llavamini
