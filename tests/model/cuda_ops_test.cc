// CUDA kernels that work on rows one by one, against their plain twins.
#include <gtest/gtest.h>

#include <limits>
#include <utility>
#include <vector>

#include "model/ops.h"
#include "tests/model/kernel_test.h"

namespace llavamini {
namespace {

using RowKernels = KernelTest;

TEST_P(RowKernels, RmsNormEqualsItsTwin) {
  for (const int64_t width : {1, 8, 56, 100, 256, 4096, 5000}) {
    for (const int64_t rows : {1, 7, 300}) {
      const at::Tensor x = OnGpu({rows, width}), weight = OnGpu({width});
      ExpectEachClose(ops::RmsNorm(x, weight, 1e-5),
                      ops::plain::RmsNorm(Wide(x), Wide(weight), 1e-5), tolerance(),
                      std::to_string(rows) + " rows of " + std::to_string(width));
    }
  }
}

TEST_P(RowKernels, SiluMultiplyEqualsItsTwin) {
  for (const int64_t width : {1, 56, 100, 640, 14336}) {
    const at::Tensor x = OnGpu({5, 2 * width});
    ExpectEachClose(ops::SiluMultiply(x), ops::plain::SiluMultiply(Wide(x)), tolerance(),
                    "width " + std::to_string(width));
  }
}

TEST_P(RowKernels, QuickGeluEqualsItsTwin) {
  for (const int64_t width : {1, 13, 48, 4096}) {
    at::Tensor x = OnGpu({7, width}), expected = Wide(x);
    ops::QuickGelu(x);
    ops::plain::QuickGelu(expected);
    ExpectEachClose(x, expected, tolerance(), "width " + std::to_string(width));
  }
}

TEST_P(RowKernels, GatherRowsEqualsItsTwin) {
  for (const int64_t width : {8, 12, 32, 4096}) {
    const at::Tensor embedding = OnGpu({50, width}), made = OnGpu({6, width});
    const at::Tensor ids = Ints({49, ops::kNewestId, -2, 0, -7, ops::kNewestId, 13, 0}),
                     places = Ints({99, 2, 1, 1, 0, 1, 3, -1}), newest = Ints({5, 7, 3, 40});
    const at::Tensor out = ops::GatherRows(ids.to(at::kCUDA), places.to(at::kCUDA),
                                           newest.to(at::kCUDA), embedding, made);
    EXPECT_TRUE(at::equal(out.cpu(),
                          ops::plain::GatherRows(ids, places, newest, embedding.cpu(), made.cpu())))
        << "width " << width;
  }
}

TEST_P(RowKernels, PackVisualAndTextEqualsItsTwin) {
  for (const ops::HeadShape& heads :
       {ops::HeadShape{4, 2, 8}, ops::HeadShape{3, 1, 32}, ops::HeadShape{32, 8, 128}}) {
    const int64_t width = heads.key_value_heads * heads.dim;
    const std::vector<int64_t> text = {2, 1, 40}, visual_rows = {577, 1, 3};
    std::vector<int64_t> all, addresses;
    std::vector<at::Tensor> visual, on_cpu;
    for (size_t run = 0; run < text.size(); ++run) {
      all.push_back(visual_rows[run] + text[run]);
      visual.push_back(OnGpu({2, visual_rows[run], width}));
      on_cpu.push_back(visual.back().cpu());
    }
    for (const int64_t part : {0, 1}) {
      for (const at::Tensor& rows : visual) {
        addresses.push_back(reinterpret_cast<int64_t>(rows[part].data_ptr()));
      }
    }
    const at::Tensor qkv = OnGpu({43, width + heads.query_heads * heads.dim + width});
    const auto [keys, values] = ops::PackVisualAndText(
        qkv, heads, visual, at::tensor(addresses, at::kLong).view({2, 3}).to(at::kCUDA),
        ops::MakeSegments(text, all, at::kCUDA));
    const auto [expected_keys, expected_values] = ops::plain::PackVisualAndText(
        qkv.cpu(), heads, on_cpu, ops::MakeSegments(text, all, at::kCPU));
    EXPECT_TRUE(at::equal(keys.cpu(), expected_keys)) << NameOf(heads);
    EXPECT_TRUE(at::equal(values.cpu(), expected_values)) << NameOf(heads);
  }
}

// As in a graph: the host counts the most rows, the device those that there are.
TEST_P(RowKernels, PackVisualAndTextLeavesZerosBehindTheRows) {
  const ops::HeadShape heads{32, 8, 128};
  const int64_t padded = 40, text = 17, visual_rows = 577,
                width = heads.key_value_heads * heads.dim;
  const at::Tensor visual = OnGpu({2, visual_rows, width});
  const at::Tensor qkv = OnGpu({padded, width + heads.query_heads * heads.dim + width});
  ops::Segments segments = ops::MakeSegments({padded}, {visual_rows + padded}, at::kCUDA);
  segments.first_query.copy_(Ints({0, text}));
  segments.first.copy_(Ints({0, visual_rows + text}));
  const at::Tensor addresses = at::tensor({reinterpret_cast<int64_t>(visual[0].data_ptr()),
                                           reinterpret_cast<int64_t>(visual[1].data_ptr())},
                                          at::kLong);
  // What the result's memory held before.
  OnGpu({2, visual_rows + padded, width}).fill_(std::numeric_limits<float>::quiet_NaN());
  const auto [keys, values] =
      ops::PackVisualAndText(qkv, heads, {}, addresses.view({2, 1}).to(at::kCUDA), segments);
  const auto [expected_keys, expected_values] =
      ops::plain::PackVisualAndText(qkv.narrow(0, 0, text).cpu(), heads, {visual.cpu()},
                                    ops::MakeSegments({text}, {visual_rows + text}, at::kCPU));
  for (const auto& [rows, expected] : {std::pair{keys, expected_keys}, {values, expected_values}}) {
    EXPECT_TRUE(at::equal(rows.narrow(0, 0, visual_rows + text).cpu(), expected));
    EXPECT_TRUE(rows.narrow(0, visual_rows + text, padded - text).eq(0).all().item<bool>());
  }
}

TEST_P(RowKernels, RotateEqualsItsTwin) {
  for (const int64_t dim : {2, 8, 32, 80, 128, 256}) {
    // Queries alone and keys with values alone stand in the last block of pre-fusion.
    for (const ops::HeadShape& heads : {ops::HeadShape{4, 2, dim}, ops::HeadShape{32, 8, dim},
                                        ops::HeadShape{6, 0, dim}, ops::HeadShape{0, 2, dim}}) {
      const ops::RopeTable rope = RandomRope(700, dim);
      const at::Tensor positions = Ints({699, 0, 4, 4, 300});
      at::Tensor qkv = OnGpu({5, (heads.query_heads + 2 * heads.key_value_heads) * dim}),
                 expected = Wide(qkv);
      ops::Rotate(qkv, heads, Copy(rope, at::kCUDA), positions.to(at::kCUDA));
      ops::plain::Rotate(expected, heads, rope, positions);
      ExpectEachClose(qkv, expected, tolerance(), NameOf(heads));
    }
  }
}

TEST_P(RowKernels, RotateAppendEqualsItsTwinAndWritesNoPadding) {
  const std::vector<int64_t> lengths = {1, 3, 16, 17, 100};
  for (const int64_t dim : {8, 32, 80, 128, 256}) {
    for (const ops::HeadShape& heads : {ops::HeadShape{4, 2, dim}, ops::HeadShape{8, 8, dim}}) {
      const ops::PagedRows rows = NewestRows(lengths, heads, GetParam());
      const ops::PagedRows gpu = Pad(Copy(rows, at::kCUDA, GetParam()), 3),
                           cpu = Copy(rows, at::kCPU, at::kFloat);
      const ops::RopeTable rope = RandomRope(100, dim);
      at::Tensor qkv = OnGpu({8, (heads.query_heads + 2 * heads.key_value_heads) * dim});
      at::Tensor expected = Wide(qkv.slice(0, 0, 5));
      ops::RotateAppend(qkv, heads, Copy(rope, at::kCUDA), gpu);
      ops::plain::RotateAppend(expected, heads, rope, cpu);
      ExpectEachClose(qkv.slice(0, 0, 5), expected, tolerance(), NameOf(heads));
      ExpectEachClose(gpu.keys, cpu.keys, tolerance(), NameOf(heads) + ", keys");
      EXPECT_TRUE(at::equal(Wide(gpu.values), cpu.values)) << NameOf(heads);
      const at::Tensor before = BySlot(Wide(rows.keys));
      at::Tensor untouched = BySlot(Wide(gpu.keys));
      untouched.index_copy_(0, rows.slots, before.index_select(0, rows.slots));
      EXPECT_TRUE(at::equal(untouched, before)) << NameOf(heads);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, RowKernels, kKernelDtypes, DtypeOfTest);

}  // namespace
}  // namespace llavamini
