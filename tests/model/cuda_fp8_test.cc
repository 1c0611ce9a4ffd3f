// Rows in eight bits: the kernels against ATen's float8 conversions and a product in float32.
#ifdef LLAVAMINI_WITH_CUDA

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "model/cuda/fp8.h"
#include "model/cuda/products.h"
#include "model/cuda/tensors.h"
#include "tests/model/kernel_test.h"

namespace llavamini {
namespace {

struct Quantized {
  at::Tensor values;  // e4m3 [N, K]
  at::Tensor scales;  // float32 [N]
  at::Tensor Wide() const { return values.to(at::kFloat) * scales.unsqueeze(1); }
};

// The kernel's twin.
Quantized QuantizePlain(const at::Tensor& x) {
  const ops::Weights quantized = ops::plain::Quantized({x});
  return {quantized.weight, quantized.scale};
}

Quantized QuantizeOnGpu(const at::Tensor& x, const at::Tensor& norm_weight = {}) {
  const int64_t rows = x.size(0), width = x.size(1);
  const Quantized out{at::empty({rows, width}, x.options().dtype(at::kFloat8_e4m3fn)),
                      at::empty({rows}, x.options().dtype(at::kFloat))};
  const kernels::QuantizedRows problem{x.data_ptr(),
                                       x.stride(0),
                                       static_cast<uint8_t*>(out.values.data_ptr()),
                                       out.scales.data_ptr<float>(),
                                       rows,
                                       static_cast<int>(width),
                                       norm_weight.defined() ? norm_weight.data_ptr() : nullptr,
                                       1e-5f};
  EXPECT_TRUE(kernels::CanQuantizeRows(problem));
  kernels::QuantizeRows(ops::cuda::ElementOf(x.scalar_type()), problem, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  return out;
}

void ExpectSame(const Quantized& out, const Quantized& expected) {
  EXPECT_TRUE(at::equal(out.scales.cpu(), expected.scales));
  EXPECT_TRUE(at::equal(out.values.cpu().view(at::kByte), expected.values.view(at::kByte)));
}

TEST(QuantizePlain, RoundsToTheNearestAndHalvesTheRelativeErrorOfAStep) {
  const at::Tensor x = at::tensor({448.0f, 17.0f, 19.0f, -20.0f, 0.0f, 1.0f / 1024}).unsqueeze(0);
  const Quantized out = QuantizePlain(x);
  EXPECT_EQ(out.scales.item<float>(), 1);
  // 16, 18, 20: ties go to the even fraction; the least value above 0 is 2⁻⁹.
  EXPECT_TRUE(
      at::equal(out.Wide(), at::tensor({448.0f, 16.0f, 20.0f, -20.0f, 0.0f, 0.0f}).unsqueeze(0)));
  const at::Tensor many = Random({16, 512}, at::kFloat);
  const at::Tensor error = (QuantizePlain(many).Wide() - many).abs();
  const at::Tensor bound =
      many.abs() / 16 + many.abs().amax(1, true) / kernels::kLargestE4m3 / 1024;
  EXPECT_TRUE(error.le(bound * (1 + 1e-5)).all().item<bool>());
}

using Fp8 = KernelTest;

TEST_P(Fp8, QuantizedRowsEqualTheTwinsBitForBit) {
  for (const int64_t width : {8, 56, 4096, 14336}) {
    at::Tensor x = Random({9, width}, GetParam());
    x[1].zero_();
    x[2].mul_(1e-3);
    x[3].fill_(-1);
    ExpectSame(QuantizeOnGpu(x.to(at::kCUDA)), QuantizePlain(x));
  }
}

TEST_P(Fp8, StridedRowsAreReadWhereTheyLie) {
  const at::Tensor x = Random({5, 3 * 64}, GetParam());
  ExpectSame(QuantizeOnGpu(x.to(at::kCUDA).slice(1, 64, 128)), QuantizePlain(x.slice(1, 64, 128)));
}

TEST_P(Fp8, ANaNShowsInItsRowAlone) {
  at::Tensor x = Random({3, 64}, GetParam());
  x[1][17] = NAN;
  const at::Tensor wide = QuantizeOnGpu(x.to(at::kCUDA)).Wide().cpu();
  EXPECT_TRUE(wide[1].isnan().all().item<bool>());
  EXPECT_FALSE(wide[0].isnan().any().item<bool>() || wide[2].isnan().any().item<bool>());
}

TEST_P(Fp8, FewRowsTimesQuantizedWeightsEqualTheProductInFloat32) {
  const at::ScalarType dtype = GetParam();
  if (dtype == at::kFloat) GTEST_SKIP() << "few rows are multiplied in 16 bits";
  const int64_t n = 64, k = 2048;
  const Quantized weight = QuantizePlain(Random({n, k}, at::kFloat));
  const at::Tensor norm = Random({k}, dtype);
  const at::Tensor gpu_values = weight.values.to(at::kCUDA),
                   gpu_scales = weight.scales.to(at::kCUDA), gpu_norm = norm.to(at::kCUDA);
  for (const int rows : {1, 5, 8, 13, 16, 20}) {
    for (const bool normalise : {false, true}) {
      for (const bool gated : {false, true}) {
        const int64_t width = gated ? n / 2 : n;
        const at::Tensor x = Random({rows, k}, dtype), residual = Random({rows, width}, dtype);
        const at::Tensor gpu_x = x.to(at::kCUDA), gpu_residual = residual.to(at::kCUDA);
        const at::Tensor y = at::empty_like(gpu_residual);
        const kernels::FewRows problem{gpu_x.data_ptr(),
                                       k,
                                       normalise ? gpu_norm.data_ptr() : nullptr,
                                       1e-5f,
                                       gpu_values.data_ptr(),
                                       gpu_residual.data_ptr(),
                                       y.data_ptr(),
                                       rows,
                                       static_cast<int>(n),
                                       static_cast<int>(k),
                                       gated,
                                       gpu_scales.data_ptr<float>()};
        if (!kernels::CanMultiplyFewRows(ops::cuda::ElementOf(dtype), problem)) {
          EXPECT_TRUE(normalise && rows > 16);  // more than shared memory holds
          continue;
        }
        kernels::MultiplyFewRows(ops::cuda::ElementOf(dtype), problem, nullptr);
        ASSERT_EQ(cudaGetLastError(), cudaSuccess);
        at::Tensor in = x.to(at::kFloat);
        if (normalise) {
          in = in * (in.square().mean(1, true) + 1e-5).rsqrt() * norm.to(at::kFloat);
        }
        at::Tensor expected = in.matmul(weight.Wide().t());
        if (gated) expected = at::silu(expected.slice(1, 0, width)) * expected.slice(1, width);
        ExpectClose(y, expected + residual.to(at::kFloat),
                    dtype == at::kHalf ? kFloat16 : kBfloat16,
                    std::to_string(rows) + " rows, norm " + std::to_string(normalise) + ", gated " +
                        std::to_string(gated));
      }
    }
  }
}

TEST_P(Fp8, EveryCodeIsWidenedExactly) {
  const at::ScalarType dtype = GetParam();
  if (dtype == at::kFloat) GTEST_SKIP() << "few rows are multiplied in 16 bits";
  const int n = 64, k = 512, rows = 4;  // row r of x picks column r, which holds codes 64·r …
  at::Tensor codes = at::zeros({n, k}, at::kByte);
  codes.slice(1, 0, rows).copy_(at::arange(256, at::kByte).view({rows, n}).t());
  codes.masked_fill_(codes.bitwise_and(127).eq(127), 0);  // NaN
  const at::Tensor x = at::eye(rows, k).to(at::kCUDA, dtype), values = codes.to(at::kCUDA),
                   scales = at::ones({n}, x.options().dtype(at::kFloat)),
                   y = at::empty({rows, n}, x.options());
  kernels::MultiplyFewRows(
      ops::cuda::ElementOf(dtype),
      {x.data_ptr(), k, nullptr, 0, values.data_ptr(), nullptr, y.data_ptr(), rows, n, k,
       /*gated=*/false, scales.data_ptr<float>()},
      nullptr);
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  const at::Tensor expected = codes.view(at::kFloat8_e4m3fn).to(at::kFloat).slice(1, 0, rows).t();
  EXPECT_TRUE(at::equal(y.cpu().to(at::kFloat), expected));
}

TEST_P(Fp8, RowsAreNormalisedAndQuantizedInOneKernel) {
  for (const int64_t width : {8, 640, 4096}) {
    const at::Tensor x = Random({5, width}, GetParam()), weight = Random({width}, GetParam());
    const Quantized out = QuantizeOnGpu(x.to(at::kCUDA), weight.to(at::kCUDA));
    const at::Tensor wide = x.to(at::kDouble);
    const at::Tensor normal = wide * (wide.square().mean(1, true) + 1e-5).rsqrt() * weight;
    const Quantized expected = QuantizePlain(normal.to(at::kFloat));
    ExpectClose(out.scales, expected.scales, kFloat32, "scales");
    // A quotient near the middle of two values may go to either.
    ExpectClose(out.Wide(), expected.Wide(), {.relative = 5e-3, .logprob = 0}, "values");
  }
}

// Rows of the demo's and of the 8B model's products.
constexpr int64_t kShapes[][2] = {{512, 256},   {1280, 256},   {256, 640},   {4096, 4096},
                                  {6144, 4096}, {28672, 4096}, {4096, 14336}};

bool HasE4m3Products() {
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  return major == 9 && minor == 0;
}

TEST_P(Fp8, CublasMultipliesTwoMatricesInE4m3) {
  if (!HasE4m3Products()) GTEST_SKIP() << "cublasLt scales by rows on sm_90 only";
  const at::ScalarType dtype = GetParam();
  if (dtype == at::kFloat) GTEST_SKIP() << "results are in 16 bits";
  for (const auto& [n, k] : kShapes) {
    const Quantized weight = QuantizeOnGpu(Random({n, k}, dtype).to(at::kCUDA));
    for (const int64_t rows : {1, 2, 7, 9, 16, 33, 64}) {
      for (const bool add : {false, true}) {
        const at::Tensor x = Random({rows, k}, dtype).to(at::kCUDA);
        const at::Tensor residual = Random({rows, n}, dtype).to(at::kCUDA) * 30;
        const at::Tensor y = at::empty_like(residual);
        const Quantized scratch{at::empty(x.sizes(), x.options().dtype(at::kByte)),
                                at::empty({rows}, x.options().dtype(at::kFloat))};
        kernels::Product product{ops::cuda::ElementOf(dtype),
                                 x.data_ptr(),
                                 k,
                                 weight.values.data_ptr(),
                                 nullptr,
                                 add ? residual.data_ptr() : nullptr,
                                 y.data_ptr(),
                                 rows,
                                 n,
                                 k};
        product.scales = weight.scales.data_ptr<float>();
        product.x_values = scratch.values.data_ptr<uint8_t>();
        product.x_scales = scratch.scales.data_ptr<float>();
        const std::string what = std::to_string(rows) + " × " + std::to_string(n) + " × " +
                                 std::to_string(k) + (add ? " + residual" : "");
        ASSERT_TRUE(kernels::Products::OfDevice().TryRun(product, nullptr)) << what;
        at::Tensor expected = QuantizeOnGpu(x).Wide().matmul(weight.Wide().t());
        if (add) expected += residual.to(at::kFloat);
        ExpectClose(y, expected.cpu(), {.relative = 5e-3, .logprob = 0}, what);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Fp8, kKernelDtypes, DtypeOfTest);

}  // namespace
}  // namespace llavamini

#endif  // LLAVAMINI_WITH_CUDA
