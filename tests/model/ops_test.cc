// The plain twins of model/ops.h against their formulas written out, row by row.
#include "model/ops.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/kv_cache.h"
#include "tests/model/kernel_test.h"

namespace llavamini {
namespace {

using at::indexing::Slice;

// softmax(q · kᵀ / √d) · v of one query [d] over rows k and v [S, d].
at::Tensor AttendOne(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const at::Tensor logits = k.mv(q) / std::sqrt(static_cast<double>(q.size(0)));
  const at::Tensor weights = logits.exp() / logits.exp().sum();
  return weights.unsqueeze(0).matmul(v).squeeze(0);
}

TEST(Ops, RmsNormDividesByTheRootOfTheMeanSquare) {
  const at::Tensor x = Random({2, 3, 8}), weight = Random({8});
  const at::Tensor out = ops::RmsNorm(x, weight, 0.25);
  for (int64_t i = 0; i < 6; ++i) {
    const at::Tensor row = x.view({6, 8})[i];
    const double scale = 1 / std::sqrt((row * row).sum().item<double>() / 8 + 0.25);
    ExpectClose(out.view({6, 8})[i], row * scale * weight, kFloat32, "row");
  }
}

TEST(Ops, LinearAddsBiasAndResidual) {
  const at::Tensor x = Random({2, 3, 5}), weight = Random({4, 5}), bias = Random({4}),
                   residual = Random({2, 3, 4});
  const at::Tensor product = (x.unsqueeze(-2) * weight).sum(-1);
  ExpectClose(ops::Linear(x, {weight}, {}), product, kFloat32, "alone");
  ExpectClose(ops::Linear(x, {weight, bias}, {}), product + bias, kFloat32, "with bias");
  ExpectClose(ops::Linear(x, {weight}, residual), product + residual, kFloat32, "with residual");
  ExpectClose(ops::Linear(x, {weight, bias}, residual), product + bias + residual, kFloat32,
              "both");
  at::Tensor sum = residual.clone();
  ops::AddLinear(x, {weight, bias}, sum);
  ExpectClose(sum, product + bias + residual, kFloat32, "in place");
}

TEST(Ops, ANormBeforeAProductIsTheSameAsBothInTurn) {
  const at::Tensor x = Random({3, 8}), norm = Random({8}), weight = Random({12, 8});
  const at::Tensor normalised = ops::RmsNorm(x, norm, 1e-5);
  const at::Tensor product = normalised.matmul(weight.t());
  ExpectClose(ops::NormLinear(x, norm, 1e-5, {weight}), product, kFloat32, "norm, product");
  const at::Tensor gate = product.slice(1, 0, 6), up = product.slice(1, 6);
  ExpectClose(ops::NormGatedLinear(x, norm, 1e-5, {weight}), gate / (1 + (-gate).exp()) * up,
              kFloat32, "norm, product, gate");
}

TEST(Ops, ActivationsAreTheirFormulas) {
  const at::Tensor x = Random({5, 14});
  const at::Tensor gate = x.slice(1, 0, 7), up = x.slice(1, 7);
  ExpectClose(ops::SiluMultiply(x), gate / (1 + (-gate).exp()) * up, kFloat32, "silu · up");
  at::Tensor gelu = x.clone();
  ops::QuickGelu(gelu);
  ExpectClose(gelu, x / (1 + (-1.702 * x).exp()), kFloat32, "quick GELU");
}

TEST(Ops, RotateTurnsPairsOfQueriesAndKeysByTheirPositionsAngle) {
  const ops::HeadShape heads{3, 2, 6};
  const at::Tensor before = Random({4, 7 * 6});
  const ops::RopeTable rope = RandomRope(10, 6);
  const std::vector<int64_t> positions = {9, 0, 4, 4};
  at::Tensor after = before.clone();
  ops::Rotate(after, heads, rope, Ints(positions));
  const at::Tensor from = before.view({4, 7, 6}), to = after.view({4, 7, 6});
  for (int64_t row = 0; row < 4; ++row) {
    const at::Tensor cos = rope.cos[positions[row]], sin = rope.sin[positions[row]];
    for (int64_t head = 0; head < 5; ++head) {
      const at::Tensor a = from[row][head].slice(0, 0, 3), b = from[row][head].slice(0, 3);
      ExpectClose(to[row][head].slice(0, 0, 3), a * cos - b * sin, kFloat32, "first half");
      ExpectClose(to[row][head].slice(0, 3), a * sin + b * cos, kFloat32, "second half");
    }
  }
  EXPECT_TRUE(at::equal(to.slice(1, 5), from.slice(1, 5))) << "values are not turned";
}

TEST(Ops, RotateAppendWritesTurnedKeysAndValuesToTheirSlotsAndNothingElse) {
  const ops::HeadShape heads{2, 2, 4};
  const ops::PagedRows paged = NewestRows({1, 17, 40}, heads, at::kFloat);
  const ops::PagedRows before = Copy(paged, at::kCPU, at::kFloat);
  const ops::RopeTable rope = RandomRope(40, 4);
  at::Tensor qkv = Random({3, 6 * 4}), turned = qkv.clone();
  ops::Rotate(turned, heads, rope, paged.positions);
  ops::RotateAppend(qkv, heads, rope, paged);
  EXPECT_TRUE(at::equal(qkv, turned));
  for (const bool keys : {true, false}) {
    at::Tensor expected = BySlot(keys ? before.keys : before.values);
    for (int64_t row = 0; row < 3; ++row) {
      const int64_t position = paged.positions[row].item<int>();
      const at::Tensor page = paged.page_table[paged.places[row].item<int>()][position / 16];
      const at::Tensor heads_of_row = (keys ? heads.Keys(turned) : heads.Values(turned))[row];
      expected[page.item<int>() * 16 + position % 16].copy_(heads_of_row);
    }
    EXPECT_TRUE(at::equal(BySlot(keys ? paged.keys : paged.values), expected));
  }
}

TEST(Ops, AttendPagesIsSoftmaxAttentionOverEachSequencesOwnRows) {
  const ops::HeadShape heads{6, 2, 8};
  const std::vector<int64_t> lengths = {1, 16, 17, 45};
  const ops::PagedRows paged = NewestRows(lengths, heads, at::kFloat);
  const at::Tensor qkv = Random({4, 10 * 8}), queries = heads.Queries(qkv);
  const at::Tensor out = ops::AttendPages(qkv, heads, paged, {});
  for (int64_t n = 0; n < 4; ++n) {
    const at::Tensor pages = paged.page_table[paged.places[n].item<int>()];
    const auto rows = [&](const at::Tensor& cache) {  // [length, 2, 8]
      return BySlot(cache.index_select(0, pages)).slice(0, 0, lengths[n]);
    };
    for (int64_t head = 0; head < 6; ++head) {
      const at::Tensor expected = AttendOne(queries[n][head], rows(paged.keys).select(1, head / 3),
                                            rows(paged.values).select(1, head / 3));
      ExpectClose(out[n].slice(0, head * 8, head * 8 + 8), expected, kFloat32, "head");
    }
  }
}

TEST(Ops, RowsOfPaddingAttendToNothing) {
  const ops::HeadShape heads{4, 2, 8};
  const ops::PagedRows paged = NewestRows({5, 20}, heads, at::kFloat);
  const at::Tensor qkv = Random({4, 8 * 8});
  const at::Tensor out = ops::AttendPages(qkv, heads, Pad(paged, 2), {});
  EXPECT_TRUE(
      at::equal(out.slice(0, 0, 2), ops::AttendPages(qkv.slice(0, 0, 2), heads, paged, {})));
  EXPECT_TRUE(at::equal(out.slice(0, 2), at::zeros({2, 4 * 8})));
}

TEST(Ops, AppendAttendIsRotateAppendThenAttendPages) {
  const ops::HeadShape heads{4, 2, 8};
  const ops::PagedRows one = NewestRows({1, 16, 33}, heads, at::kFloat);
  const ops::PagedRows two = Copy(one, at::kCPU, at::kFloat);
  const ops::RopeTable rope = RandomRope(33, 8);
  at::Tensor qkv = Random({3, 8 * 8}), same = qkv.clone();
  const at::Tensor out = ops::AppendAttend(qkv, heads, rope, one, {});
  ops::RotateAppend(same, heads, rope, two);
  EXPECT_TRUE(at::equal(out, ops::AttendPages(same, heads, two, {})));
  EXPECT_TRUE(at::equal(one.keys, two.keys));
  EXPECT_TRUE(at::equal(one.values, two.values));
}

TEST(Ops, ARunsQueriesAreTheLastOfItsRows) {
  for (const bool causal : {true, false}) {
    for (const bool ragged : {true, false}) {
      const std::vector<int64_t> query_rows =
          ragged ? std::vector<int64_t>{3, 5, 1} : std::vector<int64_t>{4, 4, 4};
      const std::vector<int64_t> rows =
          ragged ? std::vector<int64_t>{7, 5, 9} : std::vector<int64_t>{6, 6, 6};
      const ops::Segments segments = ops::MakeSegments(query_rows, rows, at::kCPU);
      const int64_t queries = segments.first_query[3].item<int>();
      const at::Tensor q = Random({queries, 4, 8}),
                       k = Random({segments.first[3].item<int>(), 2, 8}),
                       v = Random({segments.first[3].item<int>(), 2, 8});
      const at::Tensor out = ops::AttendSegments(q, k, v, segments, causal).view({queries, 4, 8});
      for (int64_t run = 0, query = 0, first = 0; run < 3; first += rows[run++]) {
        for (int64_t i = 0; i < query_rows[run]; ++i, ++query) {
          const int64_t seen = causal ? rows[run] - query_rows[run] + i + 1 : rows[run];
          for (int64_t head = 0; head < 4; ++head) {
            const at::Tensor expected =
                AttendOne(q[query][head], k.select(1, head / 2).narrow(0, first, seen),
                          v.select(1, head / 2).narrow(0, first, seen));
            ExpectClose(out[query][head], expected, kFloat32, "query " + std::to_string(query));
          }
        }
      }
    }
  }
}

TEST(Ops, SegmentsKnowWhereRunsStartAndTheLongestOfThem) {
  const ops::Segments segments = ops::MakeSegments({3, 5, 1}, {7, 5, 9}, at::kCPU);
  EXPECT_TRUE(at::equal(segments.first_query, Ints({0, 3, 8, 9})));
  EXPECT_TRUE(at::equal(segments.first, Ints({0, 7, 12, 21})));
  EXPECT_EQ(segments.most_query_rows, 5);
  EXPECT_EQ(segments.most_rows, 9);
}

TEST(Ops, TextStandsBehindTheVisualRowsThatItIsFusedWith) {
  const ops::HeadShape heads{3, 2, 4};
  const at::Tensor qkv = Random({5, 7 * 4});
  const std::vector<at::Tensor> visual = {Random({2, 6, 8}), Random({2, 1, 8})};
  const ops::Segments segments = ops::MakeSegments({2, 3}, {8, 4}, at::kCPU);
  const auto [keys, values] = ops::PackVisualAndText(qkv, heads, visual, {}, segments);
  const at::Tensor own = qkv.view({5, 7, 4});
  const auto expected = [&](int64_t part) {
    const int64_t head = 3 + 2 * part;
    return at::cat(
        {visual[0][part].view({6, 2, 4}), own.index({Slice(0, 2), Slice(head, head + 2)}),
         visual[1][part].view({1, 2, 4}), own.index({Slice(2, 5), Slice(head, head + 2)})});
  };
  EXPECT_TRUE(at::equal(keys, expected(0)));
  EXPECT_TRUE(at::equal(values, expected(1)));
}

TEST(Ops, AStepsInputIsAnEmbeddingTheNewestTokensOrAMadeRow) {
  const at::Tensor embedding = Random({10, 8}), made = Random({3, 8});
  const at::Tensor ids = Ints({9, ops::kNewestId, -2, 0, -4, ops::kNewestId, -3}),
                   places = Ints({99, 2, 1, -1, 0, 1, 0}), newest = Ints({5, 7, 3});
  const at::Tensor out = ops::GatherRows(ids, places, newest, embedding, made);
  EXPECT_TRUE(at::equal(out, at::stack({embedding[9], embedding[3], made[0], embedding[0], made[2],
                                        embedding[7], made[1]})));
}

TEST(KvCache, APlaceGetsItsPagesAndKeepsThemBesideOthers) {
  ModelConfig config;
  config.num_hidden_layers = 2;
  config.num_attention_heads = config.num_key_value_heads = 1;
  config.head_dim = 8;
  KvCache cache(config, /*pages=*/9, /*places=*/3, /*max_context_tokens=*/50, at::kFloat);
  EXPECT_EQ(cache.page_table.size(1), 4);  // of 16 rows
  EXPECT_EQ(cache.keys[1].sizes(), (std::vector<int64_t>{9, 1, kPageTokens, 8}));
  const std::vector<int32_t> first = {5, 2, 8}, second = {1};
  cache.SetPages(2, first);
  cache.SetPages(0, second);
  EXPECT_TRUE(at::equal(cache.page_table[2].slice(0, 0, 3), at::tensor(first, at::kInt)));
  EXPECT_EQ(cache.page_table[0][0].item<int>(), 1);
  const std::vector<int32_t> many = {0, 1, 2, 3, 4};
  EXPECT_THROW(cache.SetPages(1, many), std::exception);
}

}  // namespace
}  // namespace llavamini
