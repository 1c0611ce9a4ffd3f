// Products with an activation: the twin against its formula; on a GPU our kernel, by each of its
// tiles, against the twin in float32, and the operations that choose between it and cublasLt.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "model/ops.h"
#include "tests/model/kernel_test.h"
#include "tests/model/tolerance.h"

#ifdef LLAVAMINI_WITH_CUDA
#include <cuda_runtime_api.h>

#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/tensors.h"
#endif

namespace llavamini {
namespace {

TEST(ActivatedLinear, IsAnActivationOfTheProduct) {
  const at::Tensor x = Random({2, 3, 8}, at::kFloat), weight = Random({6, 8}, at::kFloat),
                   bias = Random({6}, at::kFloat), product = at::linear(x, weight, bias);
  const Tolerance& close = kFloat32;
  ExpectClose(ops::ActivatedLinear(x, {weight, bias}, HiddenAct::kQuickGelu),
              product / (1 + (-1.702 * product).exp()), close, "x · sigmoid(1.702 x)");
  ExpectClose(ops::ActivatedLinear(x, {weight, bias}, HiddenAct::kGelu),
              product * 0.5 * (1 + at::erf(product / std::sqrt(2.0))), close, "x · Φ(x)");
}

#ifdef LLAVAMINI_WITH_CUDA

class ActivatedKernel : public KernelTest {
 protected:
  static at::Tensor Twin(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         kernels::Activation activation) {
    at::Tensor y = ops::plain::Linear(Float(x), {Float(weight), Float(bias)}, {});
    if (activation == kernels::Activation::kSiluGate) return ops::plain::SiluMultiply(y);
    activation == kernels::Activation::kGelu ? ops::plain::Gelu(y) : ops::plain::QuickGelu(y);
    return y;
  }
  // That it is, wherever it should be.
  static bool IsTaken(const at::Tensor& x, const kernels::ActivatedProduct& product) {
    const bool taken = kernels::CanActivateProduct(ops::cuda::ElementOf(x), product);
    EXPECT_EQ(taken, GetParam() != at::kFloat && kernels::IsSm90());
    return taken;
  }
};

TEST_P(ActivatedKernel, EqualsTheTwinByEachTile) {
  using kernels::Activation;
  struct Size {
    int64_t rows, n, k;
  };
  // Less than a tile of each, parts of one, several for each block; odd ends of every dimension.
  for (const Size& size : std::vector<Size>{{1, 16, 8},
                                            {7, 272, 72},
                                            {153, 112, 1000},
                                            {300, 1040, 512},
                                            {577, 4096, 1024},
                                            {2000, 12304, 192}}) {
    const at::Tensor x = OnGpu({size.rows, size.k}), weight = Weight(size.n, size.k);
    for (const auto activation :
         {Activation::kQuickGelu, Activation::kGelu, Activation::kSiluGate}) {
      const bool gated = activation == Activation::kSiluGate;
      const at::Tensor bias = gated ? at::Tensor() : OnGpu({size.n});
      const at::Tensor expected = Twin(x, weight, bias, activation);
      // Rows behind the last stay as they are.
      const int64_t width = gated ? size.n / 2 : size.n;
      const at::Tensor y = at::full({size.rows + 8, width}, 7, x.options());
      const kernels::ActivatedProduct product{x.data_ptr(),
                                              x.stride(0),
                                              weight.data_ptr(),
                                              gated ? nullptr : bias.data_ptr(),
                                              y.data_ptr(),
                                              static_cast<int>(size.rows),
                                              static_cast<int>(size.n),
                                              static_cast<int>(size.k),
                                              activation};
      if (!IsTaken(x, product)) continue;
      for (const int tile : kernels::kActivatedTiles) {
        const std::string what = std::to_string(size.rows) + " rows of " + std::to_string(size.n) +
                                 " x " + std::to_string(size.k) + ", activation " +
                                 std::to_string(static_cast<int>(activation)) + ", tile " +
                                 std::to_string(tile);
        y.slice(0, 0, size.rows).fill_(NAN);
        kernels::ActivateProduct(ops::cuda::ElementOf(x), product, tile, ops::cuda::Stream());
        ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << what;
        ExpectEachClose(y.slice(0, 0, size.rows), expected, tolerance(), what);
        EXPECT_TRUE((y.slice(0, size.rows) == 7).all().item<bool>()) << what;
      }
    }
  }
}

TEST_P(ActivatedKernel, RowsMayBeApartAndTheBiasMissing) {
  const at::Tensor wide = OnGpu({40, 3 * 128}), x = wide.slice(1, 128, 256),
                   weight = Weight(64, 128), y = at::empty({40, 64}, x.options());
  const kernels::ActivatedProduct product{x.data_ptr(), x.stride(0),  weight.data_ptr(),
                                          nullptr,      y.data_ptr(), 40,
                                          64,           128,          kernels::Activation::kGelu};
  if (!IsTaken(x, product)) return;
  kernels::ActivateProduct(ops::cuda::ElementOf(x), product, 152, ops::cuda::Stream());
  ExpectEachClose(y, Twin(x, weight, {}, kernels::Activation::kGelu), tolerance(), "apart");
}

// Large results are as they should be, not NaN: exp overflows, and its inverse is 0.
TEST_P(ActivatedKernel, LargeResultsAreActivatedAsTheTwinDoes) {
  const at::Tensor x = OnGpu({64, 64}) * 100, weight = OnGpu({128, 64}) * 10, none;
  for (const bool timing : {true, false}) {
    ops::SetTimingProducts(timing);
    for (const auto activation : {HiddenAct::kQuickGelu, HiddenAct::kGelu}) {
      const bool gelu = activation == HiddenAct::kGelu;
      ExpectEachClose(ops::ActivatedLinear(x, {weight}, activation),
                      Twin(x, weight, none,
                           gelu ? kernels::Activation::kGelu : kernels::Activation::kQuickGelu),
                      tolerance(), gelu ? "GELU" : "QuickGELU");
    }
  }
  ops::SetTimingProducts(false);
}

TEST_P(ActivatedKernel, OperationsEqualTheirTwinsBeforeAndAfterTheyAreTimed) {
  const int64_t k = 320, n = 1056;  // in no other test
  const at::Tensor weight = Weight(n, k), bias = OnGpu({n}), norm = OnGpu({k});
  for (const int64_t rows : {64, 200, 577}) {
    const at::Tensor x = OnGpu({rows, k});
    const at::Tensor gelu = Twin(x, weight, bias, kernels::Activation::kGelu),
                     quick = Twin(x, weight, bias, kernels::Activation::kQuickGelu);
    const at::Tensor normed = ops::plain::RmsNorm(Float(x), Float(norm), 1e-5);
    const at::Tensor gated = Twin(normed, weight, {}, kernels::Activation::kSiluGate);
    for (const char* when : {"timing", "timed"}) {
      ops::SetTimingProducts(when == std::string("timing"));
      const std::string what = std::to_string(rows) + " rows, " + when;
      ExpectEachClose(ops::ActivatedLinear(x, {weight, bias}, HiddenAct::kGelu), gelu, tolerance(),
                      "GELU, " + what);
      ExpectEachClose(ops::ActivatedLinear(x, {weight, bias}, HiddenAct::kQuickGelu), quick,
                      tolerance(), "QuickGELU, " + what);
      ExpectEachClose(ops::NormGatedLinear(x, norm, 1e-5, {weight}), gated, tolerance(),
                      "gated, " + what);
    }
  }
  ops::SetTimingProducts(false);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, ActivatedKernel, kKernelDtypes, DtypeOfTest);

#endif

}  // namespace
}  // namespace llavamini
