// Chains of products whose weights stream through shared memory, against the plain twins in
// float32.
#ifdef LLAVAMINI_WITH_CUDA

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/tensors.h"
#include "model/device.h"
#include "model/ops.h"
#include "tests/model/kernel_test.h"

namespace llavamini {
namespace {

// Of LLaMA-3.1-8B, and odd ones: tiles of unequal size, a K of a few blocks; warps that have no
// unit of a tile whose squares are added up.
struct Widths {
  int64_t model, heads, inner, next;
  std::string Name() const { return std::to_string(model) + " to " + std::to_string(next); }
};
const std::vector<Widths> kWidths = {
    {4096, 4096, 14336, 6144}, {1536, 1280, 2304, 1552}, {4864, 1280, 2304, 1056}};

struct Operands {
  at::Tensor x, attended, norm, next_norm;
  ops::Weights out, gate_up, down, next;

  std::pair<at::Tensor, at::Tensor> Run(bool with_next = true) const {
    const ops::BlockStart start{next_norm, kEps, next};
    return ops::FinishBlock(x, attended, {out, norm, kEps, gate_up, down},
                            with_next ? &start : nullptr);
  }
  std::pair<at::Tensor, at::Tensor> Expected() const {
    const auto linear = [](const at::Tensor& rows, const ops::Weights& w) {
      return ops::plain::Linear(rows, {ops::plain::Widened(w, at::kFloat)}, {});
    };
    const at::Tensor between = Float(x) + linear(Float(attended), out);
    const at::Tensor inner =
        ops::plain::SiluMultiply(linear(ops::plain::RmsNorm(between, Float(norm), kEps), gate_up));
    const at::Tensor y = between + linear(inner, down);
    return {y, linear(ops::plain::RmsNorm(y, Float(next_norm), kEps), next)};
  }
  Operands Rows(int64_t rows) const {
    Operands some = *this;
    some.x = x.narrow(0, x.size(0) - rows, rows);
    some.attended = attended.narrow(0, x.size(0) - rows, rows);
    return some;
  }
  static constexpr double kEps = 1e-5;
};

class StreamedBlocks : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    if (!kernels::IsSm90()) GTEST_SKIP() << "weights are streamed on sm_90 only";
  }
  static ops::Weights Weights(int64_t n, int64_t k, bool fp8) {
    ops::Weights w{Weight(n, k)};
    return fp8 ? ops::Quantized(std::move(w)) : w;
  }
  static Operands Make(const Widths& w, int64_t rows, bool fp8 = false) {
    return {OnGpu({rows, w.model}),
            OnGpu({rows, w.heads}),
            OnGpu({w.model}),
            OnGpu({w.model}),
            Weights(w.model, w.heads, fp8),
            Weights(2 * w.inner, w.model, fp8),
            Weights(w.model, w.inner, fp8),
            Weights(w.next, w.model, fp8)};
  }
  static void ExpectAsTwin(const Operands& o, const std::string& what) {
    const auto [y, next] = o.Run();
    const auto [expected_y, expected_next] = o.Expected();
    ExpectEachClose(y, expected_y, tolerance(), what + ", y");
    ExpectEachClose(next, expected_next, tolerance(), what + ", next");
  }
};

TEST_P(StreamedBlocks, EqualTheirTwins) {
  for (const Widths& widths : kWidths) {
    const Operands all = Make(widths, 48);
    for (const int64_t rows : {1, 2, 7, 8, 9, 16, 17, 24, 25, 31, 32, 33, 41, 47, 48}) {
      ExpectAsTwin(all.Rows(rows), widths.Name() + ", " + std::to_string(rows) + " rows");
    }
  }
}

TEST_P(StreamedBlocks, OfE4m3WeightsEqualTheirTwins) {
  for (const Widths& widths : kWidths) {
    const Operands all = Make(widths, 32, /*fp8=*/true);
    for (const int64_t rows : {1, 8, 9, 16, 17, 32}) {
      ExpectAsTwin(all.Rows(rows), widths.Name() + ", " + std::to_string(rows) + " rows, e4m3");
    }
  }
}

TEST_P(StreamedBlocks, ARowsBitsDoNotDependOnTheNumberOfRowsNorOnWhatFollows) {
  const Operands all = Make(kWidths[0], 48);
  const auto [y, next] = all.Run();
  EXPECT_TRUE(at::equal(all.Run(/*with_next=*/false).first, y));
  for (const int64_t rows : {1, 5, 8, 9, 16, 20, 31, 40}) {
    const auto [some_y, some_next] = all.Rows(rows).Run();
    EXPECT_TRUE(at::equal(some_y, y.narrow(0, 48 - rows, rows))) << rows << " rows";
    EXPECT_TRUE(at::equal(some_next, next.narrow(0, 48 - rows, rows))) << rows << " rows";
  }
}

TEST_P(StreamedBlocks, ManyOneAfterAnotherGiveTheSameEachTime) {
  const Operands all = Make(kWidths[0], 41);
  for (const int64_t rows : {1, 3, 41}) {
    const Operands o = all.Rows(rows);
    const auto [y, next] = o.Run();
    for (int run = 0; run < 500; ++run) {
      const auto [again_y, again_next] = o.Run();
      ASSERT_TRUE(at::equal(again_y, y) && at::equal(again_next, next))
          << rows << " rows, run " << run;
    }
  }
}

TEST_P(StreamedBlocks, AreRefusedWhereTheyDoNotFit) {
  const auto can = [](int64_t rows, int64_t n, int64_t k, bool gated) {
    const at::Tensor x = OnGpu({rows, k}), w = OnGpu({n, k}), y = OnGpu({rows, n});
    const kernels::ProductChain chain{
        {{x.data_ptr(), k, w.data_ptr(), nullptr, nullptr, y.data_ptr(), static_cast<int>(n),
          static_cast<int>(k), gated}},
        1,
        static_cast<int>(rows),
        1e-5F};
    return kernels::CanStreamWeights(ops::cuda::ElementOf(GetParam()), chain);
  };
  EXPECT_TRUE(can(48, 4096, 128, false));
  EXPECT_FALSE(can(49, 4096, 128, false));
  EXPECT_FALSE(can(1, 4096, 64, false));
  EXPECT_FALSE(can(1, 4104, 128, false));
  EXPECT_FALSE(can(1, 4104, 128, true));
  EXPECT_FALSE(can(1, 256, 128, false));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, StreamedBlocks, testing::Values(at::kHalf, at::kBFloat16),
                         DtypeOfTest);

}  // namespace
}  // namespace llavamini

#endif  // LLAVAMINI_WITH_CUDA
