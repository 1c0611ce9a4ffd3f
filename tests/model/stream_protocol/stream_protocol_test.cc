// How the blocks of StreamWeights wait for one another, at any pace: the kernel's own code with
// threads of the host for its warps, and one for those that multiply.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "model/cuda/stream/chain.cuh"
#include "model/cuda/stream/copies.cuh"

namespace llavamini::kernels {
namespace {

using stream::kMostRuns;
using HostBlock = stream::Block<uint16_t, uint16_t, 8>;

constexpr int kBlocks = 8;

stream::Chain chain;
// How many blocks have ended a run of a product.
std::array<std::array<std::atomic<int>, kMostRuns>, kMostChained> ended;
std::atomic<int> copies, early_copies;

stream::Phase PhaseOf(int n, int k, bool gated, int k_runs) {
  stream::Phase phase = {};
  const int runs = gated ? kMostRuns : 1;
  phase.n = n;
  phase.k = k;
  phase.k_runs = k_runs;
  phase.gated = gated;
  phase.cut = {runs, n / stream::kUnit / runs, /*tile=*/4, /*parts=*/1, /*spans=*/1};
  return phase;
}

// As between two attentions: a gated product is made in two runs.
void MakeChain(unsigned long long* counters) {
  chain = {};
  chain.phases[0] = PhaseOf(256, 1024, false, 1);
  chain.phases[1] = PhaseOf(1024, 256, true, 1);
  chain.phases[2] = PhaseOf(256, 512, false, kMostRuns);
  chain.phases[3] = PhaseOf(256, 256, false, 1);
  chain.count = 4;
  chain.rows = 1;
  chain.stages = 4;
  chain.stage_bytes = stream::kAlignment;
  chain.arrivals = counters;
  chain.arrivals_before = counters + kMostRuns * stream::kCountersApart;
}

// In percent of its stages, each block takes some time.
using Paces = std::array<unsigned, kBlocks>;

// All warps that multiply.
void Multiply(const HostBlock& b, unsigned slowness, unsigned seed) {
  std::mt19937 random(seed);
  Slot slot;
  for (int i = 0; i < chain.count; ++i) {
    const stream::Phase& phase = chain.phases[i];
    b.ForTiles(phase, [&](const stream::Tile& tile) {
      b.ForStages(phase, [&](const stream::Stage&) {
        BarrierWait(b.full + 8 * slot.index, slot.parity);
        if (random() % 100 < slowness) {
          std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
        }
        for (int warp = 0; warp < stream::kWarps; ++warp) BarrierArrive(b.empty + 8 * slot.index);
        slot.Advance(chain.stages);
      });
      if (i + 1 == chain.count || !tile.ends) return;
      ++ended[i][tile.run];
      for (int warp = 0; warp < stream::kWarps; ++warp) BarrierArrive(b.finished + 8 * tile.run);
    });
  }
}

void RunChain(const Paces& paces, unsigned seed) {
  for (auto& runs : ended) {
    for (auto& run : runs) run = 0;
  }
  std::vector<std::unique_ptr<HostBlock>> blocks;
  for (blockIdx.x = 0; blockIdx.x < kBlocks; ++blockIdx.x) {
    blocks.push_back(std::make_unique<HostBlock>(chain, nullptr));
    blocks.back()->InitBarriers();
  }
  std::vector<std::thread> warps;
  for (unsigned i = 0; i < kBlocks; ++i) {
    const auto start = [&](auto work) {
      warps.emplace_back([&block = *blocks[i], i, work] {
        blockIdx.x = i;
        work(block);
      });
    };
    start([](const HostBlock& b) { stream::CopyWeights(b); });
    start([](const HostBlock& b) { stream::CopyRows(b); });
    start([](const HostBlock& b) { stream::TellEnds(b); });
    start([slowness = paces[i], seed, i](const HostBlock& b) {
      Multiply(b, slowness, seed * kBlocks + i);
    });
  }
  for (std::thread& warp : warps) warp.join();
}

TEST(StreamProtocol, RowsAreCopiedOnceAllBlocksHaveMadeThem) {
  constexpr unsigned kRounds = 20;
  gridDim.x = kBlocks;
  std::vector<unsigned long long> counters(2 * kMostRuns * stream::kCountersApart);
  MakeChain(counters.data());
  for (const Paces& paces :
       {Paces{}, Paces{60, 0, 60, 0, 60, 0, 60, 0}, Paces{0, 60, 0, 60, 0, 60, 0, 60},
        Paces{0, 0, 0, 90, 0, 0, 0, 0}, Paces{90, 90, 90, 90, 90, 90, 90, 0}}) {
    for (unsigned round = 0; round < kRounds; ++round) {
      copies = early_copies = 0;
      RunChain(paces, round);
      ASSERT_GT(copies, 0);
      ASSERT_EQ(early_copies, 0) << "of " << copies << ", round " << round;
    }
  }
}

}  // namespace

void RowsCopied(const CUtensorMap* map, int x) {
  for (int i = 1; i < chain.count; ++i) {
    const stream::Phase& phase = chain.phases[i];
    if (map != &phase.rows) continue;
    ++copies;
    if (ended[i - 1][x / (phase.k / phase.k_runs)] < kBlocks) ++early_copies;
  }
}

}  // namespace llavamini::kernels
