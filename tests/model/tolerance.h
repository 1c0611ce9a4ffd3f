// How near to the reference is near enough, per dtype: the one place that says so.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

namespace llavamini {

struct Tolerance {
  double relative;  // ‖out − expected‖ / ‖expected‖
  double logprob;   // absolute
};
inline constexpr Tolerance kFloat32{.relative = 2e-5, .logprob = 1e-3};
inline constexpr Tolerance kBfloat16{.relative = 3e-2, .logprob = 0.35};
inline constexpr Tolerance kFloat16{.relative = 4e-3, .logprob = 0.05};

inline void ExpectClose(const at::Tensor& out, const at::Tensor& expected,
                        const Tolerance& tolerance, const std::string& what) {
  ASSERT_EQ(out.sizes(), expected.sizes()) << what;
  const at::Tensor wide = expected.to(at::kCPU, at::kDouble);
  const double error = ((out.to(at::kCPU, at::kDouble) - wide).norm() / wide.norm()).item<double>();
  EXPECT_LT(error, tolerance.relative) << what;  // NaN fails as well
}

// The same, and no element stands out: each is within eight times as much of its own size and the
// tensor's root mean square.
inline void ExpectEachClose(const at::Tensor& out, const at::Tensor& expected,
                            const Tolerance& tolerance, const std::string& what) {
  ExpectClose(out, expected, tolerance, what);
  if (out.sizes() != expected.sizes()) return;
  const at::Tensor wide = expected.to(at::kCPU, at::kDouble);
  const at::Tensor error = (out.to(at::kCPU, at::kDouble) - wide).abs();
  const at::Tensor size = wide.abs() + wide.square().mean().sqrt();
  EXPECT_LT((error / size).max().item<double>(), 8 * tolerance.relative) << what;
}

}  // namespace llavamini
