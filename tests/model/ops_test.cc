// The operations of model/ops.h: the plain twins against formulas written out, and every CUDA
// kernel against its twin.
#include "model/ops.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/device.h"
#include "model/kv_cache.h"
#include "tests/model/tolerance.h"

namespace llavamini {
namespace {

at::Tensor Random(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  static at::Generator generator = at::detail::createCPUGenerator(7);
  return at::randn(shape, generator, at::kFloat).to(dtype);
}

// Page tables of some sequences of these lengths over a cache of shuffled pages.
struct Pages {
  at::Tensor table;    // int32 [N, most]
  at::Tensor lengths;  // int32 [N]
  int64_t pages;
};

Pages ShuffledPages(const std::vector<int>& lengths) {
  int most = 0, used = 0;
  for (const int length : lengths) most = std::max(most, (length + kPageTokens - 1) / kPageTokens);
  const int64_t pages = static_cast<int64_t>(lengths.size()) * most + 3;
  const at::Tensor order = at::randperm(pages, at::kInt);
  at::Tensor table = at::zeros({static_cast<int64_t>(lengths.size()), most}, at::kInt);
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (int page = 0; page * kPageTokens < lengths[i]; ++page) table[i][page] = order[used++];
  }
  return {table, at::tensor(lengths, at::kInt), pages};
}

TEST(Ops, AttendPagesIsSoftmaxAttentionOverEachSequencesOwnRows) {
  const Pages pages = ShuffledPages({1, 16, 17, 45});
  const at::Tensor k = Random({pages.pages, kPageTokens, 2, 8}),
                   v = Random({pages.pages, kPageTokens, 2, 8});
  const at::Tensor q = Random({4, 6, 8});
  const at::Tensor out = ops::plain::AttendPages(q, k, v, pages.table, pages.lengths);
  for (int64_t n = 0; n < 4; ++n) {
    const int64_t length = pages.lengths[n].item<int>();
    const auto rows = [&](const at::Tensor& cache) {
      return cache.index_select(0, pages.table[n])
          .flatten(0, 1)
          .slice(0, 0, length);  // [length, 2, 8]
    };
    for (int64_t head = 0; head < 6; ++head) {
      const at::Tensor logits = rows(k).select(1, head / 3).mv(q[n][head]) / std::sqrt(8.0);
      const at::Tensor expected = logits.softmax(0).matmul(rows(v).select(1, head / 3));
      ExpectClose(out[n].slice(0, head * 8, head * 8 + 8), expected, kFloat32, "head");
    }
  }
}

TEST(Ops, AttendCausalLetsARowSeeItselfAndWhatStandsBeforeIt) {
  const at::Tensor q = Random({2, 3, 4, 8}), k = Random({2, 7, 2, 8}), v = Random({2, 7, 2, 8});
  const at::Tensor out = ops::AttendCausal(q, k, v);
  for (int64_t row = 0; row < 3; ++row) {
    const int64_t seen = 7 - 3 + row + 1;
    const at::Tensor logits = k.slice(1, 0, seen)
                                  .select(2, 1)
                                  .matmul(q.select(1, row).select(1, 3).unsqueeze(-1))
                                  .squeeze(-1);
    const at::Tensor weights = (logits / std::sqrt(8.0)).softmax(-1);  // [2, seen]
    const at::Tensor expected =
        weights.unsqueeze(1).matmul(v.slice(1, 0, seen).select(2, 1)).squeeze(1);
    ExpectClose(out.select(1, row).slice(1, 24, 32), expected, kFloat32, "row");
  }
}

TEST(KvCache, SlotsFollowThePageTable) {
  std::vector<int64_t> slots;
  AppendSlots({5, 2}, 14, 4, slots);
  EXPECT_EQ(slots, (std::vector<int64_t>{5 * 16 + 14, 5 * 16 + 15, 2 * 16, 2 * 16 + 1}));
}

// ------------------------------------------------------------------ on a GPU

struct Kernels : testing::TestWithParam<at::ScalarType> {
  void SetUp() override {
    LoadOptions options;
    options.device = DeviceKind::kCuda;
    const auto placement = ChoosePlacement(options);
    if (!placement.ok()) GTEST_SKIP() << "no kernel runs here: " << placement.status().message();
  }
  static const Tolerance& tolerance() {
    if (GetParam() == at::kFloat) return kFloat32;
    return GetParam() == at::kHalf ? kFloat16 : kBfloat16;
  }
  static at::Tensor OnGpu(at::IntArrayRef shape) { return Random(shape, GetParam()).to(at::kCUDA); }
};

TEST_P(Kernels, RmsNormEqualsItsTwin) {
  for (const int64_t width : {8, 56, 256, 4096, 5000}) {
    const at::Tensor x = OnGpu({7, width}), weight = OnGpu({width});
    ExpectClose(ops::RmsNorm(x, weight, 1e-5), ops::plain::RmsNorm(x.cpu(), weight.cpu(), 1e-5),
                tolerance(), "rms norm");
  }
}

TEST_P(Kernels, SiluMultiplyEqualsItsTwin) {
  for (const int64_t width : {1, 56, 640, 14336}) {
    const at::Tensor x = OnGpu({5, 2 * width});
    ExpectClose(ops::SiluMultiply(x), ops::plain::SiluMultiply(x.cpu()), tolerance(), "silu · up");
  }
}

TEST_P(Kernels, RotateEqualsItsTwinOnStridedRows) {
  for (const int64_t dim : {8, 32, 64, 128}) {
    const at::Tensor x = OnGpu({9, 10, dim}).narrow(1, 0, 6);
    const at::Tensor angles = Random({9, dim / 2});
    ExpectClose(ops::Rotate(x, angles.cos().to(at::kCUDA), angles.sin().to(at::kCUDA)),
                ops::plain::Rotate(x.cpu(), angles.cos(), angles.sin()), tolerance(), "rotate");
  }
}

TEST_P(Kernels, AppendedRowsLieWhereTheTwinPutsThem) {
  const at::Tensor heads = OnGpu({5, 8, 32});
  const at::Tensor k = heads.narrow(1, 0, 2), v = heads.narrow(1, 4, 2);
  const at::Tensor slots = at::tensor({3, 40, 17, 0, 63}, at::kLong);
  at::Tensor k_gpu = OnGpu({4, kPageTokens, 2, 32}), v_gpu = OnGpu({4, kPageTokens, 2, 32});
  at::Tensor k_cpu = k_gpu.cpu(), v_cpu = v_gpu.cpu();
  ops::AppendToPages(k, v, slots.to(at::kCUDA), k_gpu, v_gpu);
  ops::plain::AppendToPages(k.cpu(), v.cpu(), slots, k_cpu, v_cpu);
  EXPECT_TRUE(at::equal(k_gpu.cpu(), k_cpu));
  EXPECT_TRUE(at::equal(v_gpu.cpu(), v_cpu));
}

TEST_P(Kernels, AttendPagesEqualsItsTwin) {
  const Pages pages = ShuffledPages({1, 3, 16, 17, 100, 1000});
  for (const auto& [query_heads, key_value_heads] :
       {std::pair{4, 4}, {4, 2}, {8, 2}, {32, 8}, {16, 2}, {6, 2}}) {
    for (const int64_t dim : {8, 32, 80, 128, 256}) {
      const at::Tensor k = OnGpu({pages.pages, kPageTokens, key_value_heads, dim});
      const at::Tensor v = OnGpu({pages.pages, kPageTokens, key_value_heads, dim});
      const at::Tensor q = OnGpu({6, query_heads, dim});
      const at::Tensor out =
          ops::AttendPages(q, k, v, pages.table.to(at::kCUDA), pages.lengths.to(at::kCUDA));
      const auto wide = [](const at::Tensor& x) { return x.cpu().to(at::kFloat); };
      ExpectClose(
          out, ops::plain::AttendPages(wide(q), wide(k), wide(v), pages.table, pages.lengths),
          tolerance(),
          "attention of " + std::to_string(query_heads) + " heads of " + std::to_string(dim));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Kernels, testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                         [](const auto& test) { return std::string(at::toString(test.param)); });

}  // namespace
}  // namespace llavamini
