// Attention on a GPU against its plain twins, over head shapes, lengths and dtypes.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "model/model.h"
#include "model/ops.h"
#include "tests/model/kernel_test.h"

namespace llavamini {
namespace {

// Around the rows of a split (256), its multiples, and few rows.
const std::vector<int64_t> kLengths = {1, 3, 16, 17, 255, 256, 257, 600};
// Up to as many splits as there are, and beyond, where a split grows.
const std::vector<int64_t> kLongLengths = {5000, 4096, 4097, 1, 300, 2049};

std::vector<ops::HeadShape> Shapes() {
  std::vector<ops::HeadShape> shapes;
  for (const auto& [query_heads, key_value_heads] :
       {std::pair{4, 4}, {4, 2}, {8, 2}, {32, 8}, {16, 2}, {6, 2}}) {
    for (const int64_t dim : {8, 32, 64, 80, 128, 256}) {
      shapes.push_back({query_heads, key_value_heads, dim});
    }
  }
  return shapes;
}

class Attention : public KernelTest {
 protected:
  struct Problem {
    Problem(const std::vector<int64_t>& lengths, const ops::HeadShape& shape)
        : heads(shape),
          rows(static_cast<int64_t>(lengths.size())),
          paged(NewestRows(lengths, shape, GetParam())),
          gpu(Copy(paged, at::kCUDA, GetParam())),
          qkv(OnGpu({rows, (shape.query_heads + 2 * shape.key_value_heads) * shape.dim})),
          rope(RandomRope(lengths[0] > 600 ? 5000 : 600, shape.dim)),
          gpu_rope(Copy(rope, at::kCUDA)),
          workspace(Workspace(rows + 1, shape)) {}

    at::Tensor Attend() const { return ops::AttendPages(qkv, heads, gpu, workspace); }
    // On copies: the cache stays as it is.
    at::Tensor Append(ops::PagedRows& cache) const {
      at::Tensor own = qkv.clone();
      cache = Copy(gpu, at::kCUDA, GetParam());
      return ops::AppendAttend(own, heads, gpu_rope, cache, workspace);
    }

    ops::HeadShape heads;
    int64_t rows;
    ops::PagedRows paged, gpu;
    at::Tensor qkv;
    ops::RopeTable rope, gpu_rope;
    at::Tensor workspace;
  };

  static void ExpectAsTwins(const Problem& p) {
    const ops::PagedRows cpu = Copy(p.paged, at::kCPU, at::kFloat);
    ExpectEachClose(p.Attend(), ops::plain::AttendPages(Wide(p.qkv), p.heads, cpu), tolerance(),
                    NameOf(p.heads));
    at::Tensor qkv = Wide(p.qkv);
    ops::plain::RotateAppend(qkv, p.heads, p.rope, cpu);
    ops::PagedRows cache;
    ExpectEachClose(p.Append(cache), ops::plain::AttendPages(qkv, p.heads, cpu), tolerance(),
                    NameOf(p.heads) + ", appending");
    ExpectEachClose(cache.keys, cpu.keys, tolerance(), NameOf(p.heads) + ", keys");
    EXPECT_TRUE(at::equal(Wide(cache.values), cpu.values)) << NameOf(p.heads);
  }
};

TEST_P(Attention, OverPagesEqualsItsTwin) {
  for (const ops::HeadShape& heads : Shapes()) ExpectAsTwins(Problem(kLengths, heads));
}

TEST_P(Attention, OverLongSequencesEqualsItsTwin) {
  for (const ops::HeadShape& heads : {ops::HeadShape{32, 8, 128}, ops::HeadShape{4, 4, 64},
                                      ops::HeadShape{16, 2, 64}, ops::HeadShape{8, 2, 256}}) {
    ExpectAsTwins(Problem(kLongLengths, heads));
  }
}

TEST_P(Attention, ARowsBitsDoNotDependOnTheOtherRows) {
  for (const ops::HeadShape& heads :
       {ops::HeadShape{32, 8, 128}, ops::HeadShape{4, 2, 8}, ops::HeadShape{16, 2, 64}}) {
    const Problem p(kLongLengths, heads);
    ops::PagedRows cache;
    const at::Tensor together = p.Attend(), appended = p.Append(cache);
    for (int64_t row = 0; row < p.rows; ++row) {
      Problem alone = p;
      alone.gpu = Narrow(p.gpu, row, 1);
      alone.qkv = p.qkv.narrow(0, row, 1);
      EXPECT_TRUE(at::equal(alone.Attend()[0], together[row])) << NameOf(heads) << ", row " << row;
      EXPECT_TRUE(at::equal(alone.Append(cache)[0], appended[row]))
          << NameOf(heads) << ", row " << row << ", appending";
    }
  }
}

// A step with a prompt in it appends first, and attends then: its newest rows are the same.
TEST_P(Attention, AppendingOnTheWayGivesTheSameBitsAsAppendingFirst) {
  for (const auto& lengths : {kLengths, kLongLengths}) {
    for (const ops::HeadShape& heads : {ops::HeadShape{32, 8, 128}, ops::HeadShape{4, 4, 32},
                                        ops::HeadShape{4, 2, 64}, ops::HeadShape{8, 2, 256}}) {
      Problem p(lengths, heads);
      ops::PagedRows cache;
      const at::Tensor appended = p.Append(cache);
      ops::RotateAppend(p.qkv, heads, p.gpu_rope, p.gpu);
      EXPECT_TRUE(at::equal(p.Attend(), appended)) << NameOf(heads);
      EXPECT_TRUE(at::equal(p.gpu.keys, cache.keys)) << NameOf(heads);
    }
  }
}

TEST_P(Attention, AWorkspaceServesOneCallAfterAnother) {
  const Problem p(kLongLengths, {32, 8, 128});
  ops::PagedRows cache;
  const at::Tensor first = p.Attend(), appended = p.Append(cache);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(at::equal(p.Attend(), first));
    EXPECT_TRUE(at::equal(p.Append(cache), appended));
  }
}

TEST_P(Attention, WhatIsLeftBehindASequencesRowsDoesNotMatter) {
  const std::vector<int64_t> lengths = {1, 3, 16, 17, 127, 300};
  for (const ops::HeadShape& heads :
       {ops::HeadShape{32, 8, 128}, ops::HeadShape{4, 4, 64}, ops::HeadShape{4, 2, 32}}) {
    const Problem p(lengths, heads);
    Problem left = p;
    left.gpu = Copy(p.gpu, at::kCUDA, GetParam());
    const auto spoil = [&](int64_t first_behind) {
      for (size_t i = 0; i < lengths.size(); ++i) {
        const int64_t newest = lengths[i] - 1;
        const auto page = p.paged.page_table[p.paged.places[i].item<int>()][newest / kPageTokens];
        for (const at::Tensor* cache : {&left.gpu.keys, &left.gpu.values}) {
          cache->select(0, page.item<int>())
              .slice(1, newest % kPageTokens + first_behind)
              .fill_(std::numeric_limits<float>::quiet_NaN());
        }
      }
    };
    ops::PagedRows cache;
    spoil(1);
    EXPECT_TRUE(at::equal(left.Attend(), p.Attend())) << NameOf(heads);
    spoil(0);  // the newest row is yet to be appended
    EXPECT_TRUE(at::equal(left.Append(cache), p.Append(cache))) << NameOf(heads);
  }
}

TEST_P(Attention, RowsOfPaddingAreZerosAndTouchNothing) {
  for (const ops::HeadShape& heads : {ops::HeadShape{32, 8, 128}, ops::HeadShape{4, 2, 8}}) {
    const Problem p({40, 3, 300}, heads);
    Problem padded = p;
    padded.gpu = Pad(p.gpu, 5);
    padded.qkv = at::cat({p.qkv, OnGpu({5, p.qkv.size(1)})});
    ops::PagedRows cache, padded_cache;
    const at::Tensor out = padded.Attend(), appended = padded.Append(padded_cache);
    EXPECT_TRUE(at::equal(out.slice(0, 0, 3), p.Attend())) << NameOf(heads);
    EXPECT_TRUE(at::equal(appended.slice(0, 0, 3), p.Append(cache))) << NameOf(heads);
    EXPECT_TRUE(at::equal(padded_cache.keys, cache.keys)) << NameOf(heads);
    EXPECT_TRUE(at::equal(padded_cache.values, cache.values)) << NameOf(heads);
    EXPECT_EQ(out.slice(0, 3).count_nonzero().item<int64_t>(), 0) << NameOf(heads);
    EXPECT_EQ(appended.slice(0, 3).count_nonzero().item<int64_t>(), 0) << NameOf(heads);
  }
}

// Rows of one prompt: many rows of one place, each of which sees itself and what is before it.
TEST_P(Attention, RowsOfAPromptAttendAsAWholePromptDoes) {
  for (const ops::HeadShape& heads : {ops::HeadShape{32, 8, 128}, ops::HeadShape{4, 2, 8}}) {
    const std::vector<int64_t> lengths = {256, 31};
    ops::PagedRows paged = Copy(NewestRows(lengths, heads, GetParam()), at::kCUDA, GetParam());
    std::vector<int64_t> places, positions;
    for (size_t i = 0; i < lengths.size(); ++i) {
      for (int64_t row = 0; row < lengths[i]; ++row) {
        places.push_back(paged.places[i].item<int>());
        positions.push_back(row);
      }
    }
    paged.places = Ints(places).to(at::kCUDA);
    paged.positions = Ints(positions).to(at::kCUDA);
    const ops::RopeTable rope = RandomRope(256, heads.dim);
    at::Tensor qkv = OnGpu({256 + 31, (heads.query_heads + 2 * heads.key_value_heads) * heads.dim});
    at::Tensor turned = Wide(qkv);
    ops::RotateAppend(qkv, heads, Copy(rope, at::kCUDA), paged);
    const at::Tensor out = ops::AttendPages(qkv, heads, paged, Workspace(3, heads));
    ops::plain::Rotate(turned, heads, rope, Ints(positions));
    const at::Tensor expected =
        ops::plain::AttendSegments(heads.Queries(turned), heads.Keys(turned), heads.Values(turned),
                                   ops::MakeSegments(lengths, lengths, at::kCPU), /*causal=*/true);
    ExpectEachClose(out, expected, tolerance(), NameOf(heads));
  }
}

TEST_P(Attention, OverSegmentsEqualsItsTwin) {
  const struct {
    std::vector<int64_t> query_rows, rows;
  } cases[] = {
      {{57, 57, 57}, {57, 57, 57}}, {{4, 4}, {581, 581}}, {{5, 3, 1, 130}, {5, 33, 1, 130}}};
  for (const auto& [query_rows, rows] : cases) {
    const ops::Segments cpu = ops::MakeSegments(query_rows, rows, at::kCPU),
                        gpu = ops::MakeSegments(query_rows, rows, at::kCUDA);
    const int64_t queries = cpu.first_query[-1].item<int>(), keys = cpu.first[-1].item<int>();
    for (const ops::HeadShape& heads :
         {ops::HeadShape{4, 4, 8}, ops::HeadShape{4, 2, 16}, ops::HeadShape{16, 16, 64},
          ops::HeadShape{8, 2, 80}, ops::HeadShape{32, 8, 128}}) {
      // As one product makes them: heads of a row stand side by side.
      const int64_t width = (heads.query_heads + 2 * heads.key_value_heads) * heads.dim;
      const at::Tensor own = OnGpu({queries, width}), qkv = OnGpu({keys, width});
      const at::Tensor q = heads.Queries(own), k = heads.Keys(qkv), v = heads.Values(qkv);
      for (const bool causal : {true, false}) {
        ExpectEachClose(ops::AttendSegments(q, k, v, gpu, causal),
                        ops::plain::AttendSegments(Wide(q), Wide(k), Wide(v), cpu, causal),
                        tolerance(), NameOf(heads) + (causal ? ", causal" : ""));
      }
    }
  }
}

// A text behind an image's rows, in tensors of more rows than it has, as its graph attends.
TEST_P(Attention, OverOneRunWithPaddingBehindItEqualsItsTwin) {
  constexpr int64_t kVisual = 577;
  for (const ops::HeadShape& heads : {ops::HeadShape{32, 8, 128}, ops::HeadShape{4, 4, 64}}) {
    for (const int64_t text : {1, 8, 40, 64, 128}) {
      for (const int64_t padding : {0, 1, 24}) {
        const int64_t queries = text + padding, keys = kVisual + queries;
        const int64_t width = (heads.query_heads + 2 * heads.key_value_heads) * heads.dim;
        const at::Tensor own = OnGpu({queries, width}), qkv = OnGpu({keys, width});
        // Queries of padding are whatever there is, its keys and values zeros.
        own.narrow(0, text, padding).fill_(std::numeric_limits<float>::quiet_NaN());
        qkv.narrow(0, kVisual + text, padding).zero_();
        const at::Tensor q = heads.Queries(own), k = heads.Keys(qkv), v = heads.Values(qkv);
        ops::Segments segments = ops::MakeSegments({queries}, {keys}, at::kCUDA);
        segments.first_query.copy_(Ints({0, text}));
        segments.first.copy_(Ints({0, kVisual + text}));
        const auto real = [&](const at::Tensor& x, int64_t rows) { return x.narrow(0, 0, rows); };
        const at::Tensor out = ops::AttendSegments(q, k, v, segments, /*causal=*/true);
        ASSERT_EQ(out.sizes(), at::IntArrayRef({queries, heads.query_heads * heads.dim}));
        ExpectEachClose(
            real(out, text),
            ops::plain::AttendSegments(
                real(Wide(q), text), real(Wide(k), kVisual + text), real(Wide(v), kVisual + text),
                ops::MakeSegments({text}, {kVisual + text}, at::kCPU), /*causal=*/true),
            tolerance(),
            NameOf(heads) + ", " + std::to_string(text) + " rows, " + std::to_string(padding) +
                " of padding");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Attention, kKernelDtypes, DtypeOfTest);

}  // namespace
}  // namespace llavamini
