// How chains of products are cut for the kernel that streams weights: needs no GPU.
#ifdef LLAVAMINI_WITH_CUDA

#include <gtest/gtest.h>

#include <string>

#include "model/cuda/stream/cut.h"

namespace llavamini::kernels::stream {
namespace {

constexpr int kClusters = 66;  // of two blocks, on an H200

StreamedProduct Product(int n, int k, bool gated = false, bool fp8 = false) {
  static const float scale = 1;
  StreamedProduct product = {};
  product.n = n;
  product.k = k;
  product.gated = gated;
  product.scales = fp8 ? &scale : nullptr;
  return product;
}

// What stands between two attentions of LLaMA-3.1-8B.
ProductChain Llama(bool fp8) {
  return {{Product(4096, 4096, false, fp8), Product(28672, 4096, true, fp8),
           Product(4096, 14336, false, fp8), Product(6144, 4096, false, fp8)},
          4,
          /*rows=*/1,
          /*eps=*/1e-5F};
}

constexpr int kColumns[] = {8, 16, 32, kMostStreamedRows};

TEST(StreamCut, FitsInSharedMemoryAndCoversEveryUnit) {
  for (const bool fp8 : {false, true}) {
    for (const int columns : kColumns) {
      const ProductChain chain = Llama(fp8);
      const ChainCut cut = CutChain(chain, columns, kClusters);
      const std::string where = std::to_string(columns) + (fp8 ? " columns, e4m3" : " columns");
      EXPECT_LE(cut.SharedBytes(), SharedBytes(columns)) << where;
      EXPECT_GE(cut.stages, 4) << where;
      EXPECT_EQ(cut.stage_bytes % kAlignment, 0) << where;
      for (int i = 0; i < chain.count; ++i) {
        const Cut& own = cut.cuts[i];
        EXPECT_EQ(own.units * own.runs * kUnit, chain.products[i].n) << where;
        EXPECT_LE(own.tile, kMostUnits) << where;
        EXPECT_GE(own.spans, 1) << where;
        EXPECT_LE(own.spans * own.tile, 32) << where << ": a copy per lane";
        EXPECT_LE(own.spans * SpanBytes(columns, fp8 ? 1 : 2, own.tile), cut.stage_bytes) << where;
        const int pairs = 2 * own.parts - 1;  // from others, of each unit and column
        EXPECT_LE(pairs * own.tile * kPairs * (columns / kSplit) * 8, cut.exchange_bytes) << where;
      }
    }
  }
}

TEST(StreamCut, TakesNoMoreClustersThanTheLargestSharesNeed) {
  const ChainCut cut = CutChain(Llama(/*fp8=*/false), 8, kClusters);
  EXPECT_EQ(cut.clusters, 64);  // 256 units: four each, where 66 would have three or four
  const ProductChain head = {{Product(128256, 4096)}, 1, 1, 1e-5F};
  EXPECT_EQ(CutChain(head, 8, kClusters).clusters, 66);
}

TEST(StreamCut, MakesGatedProductsInTwoRunsWhereTheNextOnesKAllowsIt) {
  EXPECT_EQ(CutChain(Llama(/*fp8=*/false), 8, kClusters).cuts[1].runs, 2);
  ProductChain chain = {{Product(8704, 4096, true), Product(4096, 4352)}, 2, 1, 1e-5F};
  EXPECT_EQ(CutChain(chain, 8, kClusters).cuts[0].runs, 2);
  chain.products[0].n = 8448;
  chain.products[1].k = 4224;  // half of it is not a number of spans for both blocks
  EXPECT_EQ(CutChain(chain, 8, kClusters).cuts[0].runs, 1);
}

TEST(StreamCut, RefusesWhatItCannotCut) {
  const auto can = [](const StreamedProduct& first, const StreamedProduct& second) {
    return CanCut({{first, second}, 2, 1, 1e-5F}, 8, kClusters);
  };
  EXPECT_TRUE(can(Product(4096, 4096), Product(4096, 4096)));
  EXPECT_TRUE(can(Product(8192, 4096, true), Product(4096, 4096)));
  EXPECT_FALSE(can(Product(4096, 4096), Product(4096, 2048))) << "not what the first makes";
  EXPECT_FALSE(can(Product(4096, 64), Product(4096, 4096))) << "K of one block only";
  EXPECT_FALSE(can(Product(4104, 4096), Product(4096, 4104))) << "half a unit";
  EXPECT_FALSE(can(Product(8200, 4096, true), Product(4096, 4100))) << "half a unit of pairs";
  StreamedProduct added = Product(8192, 4096, true);
  added.residual = &added;
  EXPECT_FALSE(can(added, Product(4096, 4096))) << "gates with a residual";
  EXPECT_FALSE(can(Product(1024, 4096), Product(4096, 1024))) << "fewer units than clusters";
  EXPECT_FALSE(CanCut({{Product(4096, 4096)}, 1, 1, 1e-5F}, 8, 0)) << "no room on the GPU";
}

}  // namespace
}  // namespace llavamini::kernels::stream

#endif  // LLAVAMINI_WITH_CUDA
