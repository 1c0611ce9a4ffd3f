// The CPU's own forms of operations (model/cpu) against their plain twins, which compute in float32
// from the same values.
#include <gtest/gtest.h>

#include <limits>

#include "model/cpu/attend_pages.h"
#include "model/cpu/attend_rows.h"
#include "model/cpu/packed_linear.h"
#include "model/cpu/rows.h"
#include "model/cpu/threads.h"
#include "model/memory_plan.h"
#include "tests/model/tolerance.h"

namespace llavamini {
namespace {

struct CpuOps : testing::TestWithParam<at::ScalarType> {
  CpuOps() : generator(at::detail::createCPUGenerator(7)) {}

  at::Tensor Random(at::IntArrayRef shape) {
    return at::randn(shape, generator, at::kFloat).to(GetParam());
  }
  static const Tolerance& tolerance() {
    static constexpr Tolerance kRounded{.relative = 4e-3, .logprob = 0};  // the result, once
    return GetParam() == at::kFloat ? kFloat32 : kRounded;
  }
  static at::Tensor Wide(const at::Tensor& x) { return x.defined() ? x.to(at::kFloat) : x; }

  at::Generator generator;
};

ops::RopeTable Angles(int64_t positions, int64_t dim) {
  const at::Tensor angles = at::arange(positions * dim / 2, at::kFloat).view({positions, dim / 2});
  return {angles.cos(), angles.sin()};
}

TEST_P(CpuOps, RmsNormEqualsItsTwin) {
  for (const int64_t width : {16, 192, 4096}) {
    const at::Tensor x = Random({7, width}), weight = Random({width});
    ASSERT_TRUE(ops::cpu::TakesRows(x, width));
    ExpectClose(ops::cpu::RmsNorm(x, weight, 1e-5),
                ops::plain::RmsNorm(Wide(x), Wide(weight), 1e-5), tolerance(),
                "width " + std::to_string(width));
  }
}

TEST_P(CpuOps, ActivationsEqualTheirTwinsFarFromZeroToo) {
  at::Tensor x = Random({300, 2 * 640});
  x[0].fill_(-1000), x[1].fill_(1000), x[2].fill_(-88.5), x[3].fill_(0);
  ExpectClose(ops::cpu::SiluMultiply(x), ops::plain::SiluMultiply(Wide(x)), tolerance(), "silu");
  at::Tensor expected = Wide(x).clone();
  ops::plain::QuickGelu(expected);
  ops::cpu::QuickGelu(x);
  ExpectClose(x, expected, tolerance(), "quick gelu");
}

TEST_P(CpuOps, NotANumberStaysOne) {
  at::Tensor x = Random({2, 32});
  x[1][3] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor out = ops::cpu::SiluMultiply(x);
  EXPECT_TRUE(out[1][3].isnan().item<bool>());
  EXPECT_EQ(out.isnan().sum().item<int64_t>(), 1);
}

TEST_P(CpuOps, RowsTurnAndLieWhereTheirTwinsPutThem) {
  for (const int64_t dim : {32, 64, 128}) {
    const ops::HeadShape heads{6, 2, dim};
    const ops::RopeTable rope = Angles(50, dim);
    at::Tensor qkv = Random({4, 10 * dim}), expected = Wide(qkv).clone();
    const at::Tensor table = at::tensor({3, 0, 2, 1, 4, 5}, at::kInt).view({2, 3});
    ops::PagedRows paged{at::tensor({1, 0, 1, 0}, at::kInt),
                         at::tensor({0, 47, 33, 16}, at::kInt),
                         table,
                         Random({6, 2, kPageTokens, dim}),
                         Random({6, 2, kPageTokens, dim}),
                         at::tensor({16, 2 * 16 + 15, 5 * 16 + 1, 0}, at::kLong)};
    ops::PagedRows twin = paged;
    twin.keys = Wide(paged.keys).clone(), twin.values = Wide(paged.values).clone();
    ops::plain::RotateAppend(expected, heads, rope, twin);
    ops::cpu::RotateAppend(qkv, heads, rope, paged);
    ExpectClose(qkv, expected, tolerance(), "rows");
    ExpectClose(paged.keys, twin.keys, tolerance(), "keys");
    ExpectClose(paged.values, twin.values, tolerance(), "values");
  }
}

TEST_P(CpuOps, KeptRowsOfRunsAreTheirTurnedKeysAndTheirValues) {
  const ops::HeadShape heads{2, 3, 64};
  const ops::RopeTable rope = Angles(9, 64);
  const at::Tensor positions = at::tensor({0, 1, 8, 3, 4, 5}, at::kInt);
  at::Tensor qkv = Random({6, 8 * 64}), expected = Wide(qkv).clone();
  const at::Tensor kept = Random({2, 5, 2, 3, 3 * 64}), twin = Wide(kept).clone();
  const auto part = [](const at::Tensor& all) {
    return ops::KeptRows{all.select(1, 4).select(1, 0), all.select(1, 4).select(1, 1)};
  };
  ops::plain::RotateKeep(expected, heads, rope, positions, part(twin));
  ops::cpu::RotateKeep(qkv, heads, rope, positions, part(kept));
  ExpectClose(qkv, expected, tolerance(), "rows");
  ExpectClose(kept, twin, tolerance(), "kept");
}

TEST_P(CpuOps, PaddingIsNeitherWrittenNorRead) {
  const ops::HeadShape heads{2, 2, 32};
  at::Tensor qkv = Random({1, 6 * 32});
  const at::Tensor keys = Random({2, 2, kPageTokens, 32}), before = keys.clone();
  const ops::PagedRows paged{at::full({1}, -1, at::kInt),
                             at::zeros({1}, at::kInt),
                             at::zeros({1, 2}, at::kInt),
                             keys,
                             keys.clone(),
                             {}};
  ops::cpu::RotateAppend(qkv, heads, Angles(1, 32), paged);
  EXPECT_TRUE(at::equal(keys, before));
  EXPECT_EQ(ops::cpu::AttendPages(qkv, heads, paged).count_nonzero().item<int64_t>(), 0);
}

TEST_P(CpuOps, AttendPagesEqualsItsTwin) {
  const std::vector<int> last = {0, 2, 15, 16, 99, 1000};
  const int64_t rows = 6, pages = 63;
  const at::Tensor table = at::randperm(rows * pages, generator, at::kInt).view({rows, pages});
  for (const auto& [query_heads, shared] : {std::pair{4, 4}, {8, 2}, {6, 2}}) {
    for (const int64_t dim : {16, 32, 80, 128}) {
      const ops::HeadShape heads{query_heads, shared, dim};
      ops::PagedRows paged{at::tensor({5, 0, 3, 2, 4, 1}, at::kInt),
                           at::tensor(last, at::kInt),
                           table,
                           Random({rows * pages, shared, kPageTokens, dim}),
                           Random({rows * pages, shared, kPageTokens, dim}),
                           {}};
      const at::Tensor qkv = Random({rows, (query_heads + 2 * shared) * dim});
      const at::Tensor out = ops::cpu::AttendPages(qkv, heads, paged);
      paged.keys = Wide(paged.keys), paged.values = Wide(paged.values);
      ExpectClose(out, ops::plain::AttendPages(Wide(qkv), heads, paged), tolerance(),
                  std::to_string(query_heads) + " heads of " + std::to_string(dim));
    }
  }
}

TEST_P(CpuOps, AttendSegmentsEqualsItsTwin) {
  const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> shapes = {
      {{577, 577}, {577, 577}}, {{1, 1}, {577, 577}}, {{1, 24, 25, 130}, {1, 24, 60, 200}}};
  for (const auto& [query_rows, rows] : shapes) {
    const ops::Segments segments = ops::MakeSegments(query_rows, rows, at::kCPU);
    const int64_t queries = at::tensor(query_rows).sum().item<int64_t>();
    const int64_t all = at::tensor(rows).sum().item<int64_t>();
    for (const auto& [heads, shared, dim] :
         {std::tuple<int64_t, int64_t, int64_t>{3, 3, 64}, {8, 4, 32}, {6, 2, 80}, {1, 1, 16}}) {
      const at::Tensor stacked = Random({all, heads + 2 * shared, dim});
      const at::Tensor q = stacked.narrow(0, 0, queries).narrow(1, 0, heads);
      const at::Tensor k = stacked.narrow(1, heads, shared);
      const at::Tensor v = stacked.narrow(1, heads + shared, shared);
      for (const bool causal : {false, true}) {
        ExpectClose(ops::cpu::AttendSegments(q, k, v, segments, causal),
                    ops::plain::AttendSegments(Wide(q), Wide(k), Wide(v), segments, causal),
                    tolerance(), std::to_string(heads) + " heads of " + std::to_string(dim));
      }
    }
  }
}

// The twin rounds between the product and what is added; so may the packed form.
TEST_P(CpuOps, PackedLinearEqualsItsTwinAtAnyNumberOfRows) {
  for (const auto& [in, out] :
       {std::pair<int64_t, int64_t>{192, 576}, {640, 256}, {588, 50}, {1024, 1500}}) {
    const ops::Weights plain{Random({out, in}), Random({out})};
    const ops::Weights packed = ops::cpu::Packed(plain);
    if (!packed.packed.defined()) GTEST_SKIP() << "no oneDNN products of this dtype here";
    EXPECT_TRUE(at::equal(ops::cpu::Unpacked(packed.packed), plain.weight));
    const ops::Weights wide{Wide(plain.weight), Wide(plain.bias)};
    for (const int64_t rows : {1, 3, 4, 9, 577}) {
      const at::Tensor x = Random({rows, in}), residual = Random({rows, out});
      const std::string what = std::to_string(rows) + " rows of " + std::to_string(in);
      ExpectClose(ops::cpu::Linear(x, packed, {}), ops::plain::Linear(Wide(x), wide, {}),
                  tolerance(), what);
      ExpectClose(ops::cpu::Linear(x, packed, residual),
                  ops::plain::Linear(Wide(x), wide, Wide(residual)), tolerance(), what);
      at::Tensor sum = residual.clone();
      ops::AddLinear(x, packed, sum);
      EXPECT_TRUE(at::equal(sum, ops::cpu::Linear(x, packed, residual))) << what;
    }
    EXPECT_EQ(ops::cpu::Linear(Random({0, in}), packed, {}).sizes(), at::IntArrayRef({0, out}));
  }
}

TEST(CpuThreads, FollowTheQuotaOfTheControlGroup) {
  EXPECT_EQ(cpu::QuotaCores("200000 100000\n"), 2);
  EXPECT_EQ(cpu::QuotaCores("150000 100000\n"), 2);
  EXPECT_EQ(cpu::QuotaCores("50000 100000\n"), 1);
  for (const char* none : {"max 100000\n", "", "100000", "100000 0", "x y", "-5 100000"}) {
    EXPECT_EQ(cpu::QuotaCores(none), 0) << none;
  }
  EXPECT_GE(cpu::DefaultThreads(), 1);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CpuOps, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& test) { return std::string(at::toString(test.param)); });

}  // namespace
}  // namespace llavamini
