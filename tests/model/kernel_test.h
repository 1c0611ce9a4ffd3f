// What tests of operations share: random tensors, rows in paged memory, and a fixture that runs
// once per dtype and skips where there is no GPU.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/device.h"
#include "model/ops.h"
#include "tests/model/tolerance.h"

namespace llavamini {

at::Tensor Random(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat);
at::Tensor Ints(const std::vector<int64_t>& values);  // int32

// Angles of random size, so that a row's position shows.
ops::RopeTable RandomRope(int64_t positions, int64_t dim);

// One row, the newest, of each of some sequences, over a cache of shuffled pages of random keys and
// values. Places are taken from the last downwards.
ops::PagedRows NewestRows(const std::vector<int64_t>& lengths, const ops::HeadShape& heads,
                          at::ScalarType dtype);
// The rows of a cache by slot: [pages · kPageTokens, Hkv, d], a copy.
at::Tensor BySlot(const at::Tensor& cache);
// Rows first … first + count - 1 of them.
ops::PagedRows Narrow(const ops::PagedRows& rows, int64_t first, int64_t count);
// Padding rows behind them.
ops::PagedRows Pad(const ops::PagedRows& rows, int64_t count);
// Copies on another device; floats become `dtype`.
ops::PagedRows Copy(const ops::PagedRows& rows, const at::Device& device, at::ScalarType dtype);
ops::RopeTable Copy(const ops::RopeTable& rope, const at::Device& device);

// On its device, for products in float32 that share nothing with ours; undefined where x is.
inline at::Tensor Float(const at::Tensor& x) { return x.defined() ? x.to(at::kFloat) : x; }

class KernelTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    LoadOptions options;
    options.device = DeviceKind::kCuda;
    const auto placement = ChoosePlacement(options);
    if (!placement.ok()) GTEST_SKIP() << "no kernel runs here: " << placement.status().message();
  }

  static const Tolerance& tolerance();
  static at::Tensor OnGpu(at::IntArrayRef shape) { return Random(shape, GetParam()).to(at::kCUDA); }
  // [n, k] on the GPU, such that products are of about the same size whatever k.
  static at::Tensor Weight(int64_t n, int64_t k);
  // The twins' input.
  static at::Tensor Wide(const at::Tensor& x) {
    return x.cpu().to(at::kFloat, false, /*copy=*/true);
  }
  static at::Tensor Workspace(int64_t places, const ops::HeadShape& heads);
};

inline const auto kKernelDtypes = testing::Values(at::kFloat, at::kHalf, at::kBFloat16);
inline std::string DtypeOfTest(const testing::TestParamInfo<at::ScalarType>& test) {
  return at::toString(test.param);
}

std::string NameOf(const ops::HeadShape& heads);

}  // namespace llavamini
