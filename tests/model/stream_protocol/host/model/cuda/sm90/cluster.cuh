// model/cuda/sm90/cluster.cuh for threads of the host, each of which stands for a warp, by its first lane. Barriers count arrivals, not
// bytes; copies only say that they were made.
#pragma once

#include <cuda_runtime_api.h>
// Behind it, which defines __device__ as well.
#include <cuda.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#undef __device__
#define __device__

namespace llavamini::kernels {

using std::max;
using std::min;

struct Index {
  unsigned x;
};
inline thread_local Index threadIdx{0}, blockIdx{0};
inline Index gridDim{0};

struct HostBarrier {
  std::mutex mutex;
  unsigned expected = 0, missing = 0;
  std::atomic<unsigned> phase{0};
};
// Of all blocks, by block and address.
inline std::map<std::pair<unsigned, uint32_t>, HostBarrier> host_barriers;
inline HostBarrier& BarrierAt(uint32_t address) { return host_barriers.at({blockIdx.x, address}); }

// Called by whoever waits: a chain that does not go on ends the program.
inline void Yield() {
  constexpr std::chrono::seconds kMost{60};
  static const auto begin = std::chrono::steady_clock::now();
  if (std::chrono::steady_clock::now() - begin > kMost) {
    std::fprintf(stderr, "a warp waits for ever\n");
    std::abort();
  }
  std::this_thread::yield();
}

inline int Warp() { return 0; }
inline void BarrierInit(uint32_t barrier, unsigned arrivals) {
  HostBarrier& own = host_barriers[{blockIdx.x, barrier}];
  own.expected = own.missing = arrivals;
  own.phase = 0;
}
inline void BarrierInitDone() {}
inline void BarrierArrive(uint32_t barrier) {
  HostBarrier& own = BarrierAt(barrier);
  const std::lock_guard lock(own.mutex);
  if (--own.missing > 0) return;
  own.missing = own.expected;
  ++own.phase;
}
inline void BarrierExpect(uint32_t barrier, unsigned /*bytes*/) { BarrierArrive(barrier); }
inline void BarrierWait(uint32_t barrier, unsigned parity) {
  const HostBarrier& own = BarrierAt(barrier);
  while (own.phase % 2 == parity) Yield();
}

constexpr uint64_t kEvictFirst = 0, kEvictLast = 1;
// The test's: rows of the map's matrix from column x on are copied.
void RowsCopied(const CUtensorMap* map, int x);
inline void CopyBox(uint32_t /*target*/, const CUtensorMap* map, int x, int /*y*/, uint32_t /*barrier*/, uint64_t /*policy*/) {
  RowsCopied(map, x);
}
inline void CopyPairs(uint32_t /*target*/, const CUtensorMap* /*map*/, int /*x*/, int /*y*/, uint32_t /*barrier*/, uint64_t /*policy*/) {}
inline void FenceBeforeCopies() {}

inline void AddRelease(unsigned long long* address, unsigned long long value) { std::atomic_ref(*address) += value; }
inline unsigned long long LoadRelaxed(const unsigned long long* address) {
  Yield();
  return std::atomic_ref(*const_cast<unsigned long long*>(address)).load();
}
inline void FenceAcquire() {}
inline void __syncwarp() {}

}  // namespace llavamini::kernels
