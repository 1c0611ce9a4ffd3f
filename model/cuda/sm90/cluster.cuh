// What sm_90 has for data that moves by itself: barriers in shared memory that count arrivals and bytes, copies of boxes of a matrix
// (cuTensorMap), and the shared memory of the other blocks of a cluster. Addresses are 32-bit shared ones.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace llavamini::kernels {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Of this thread: the same for all lanes, as the compiler has to know.
__device__ inline int Warp() { return __shfl_sync(~0u, static_cast<int>(threadIdx.x / 32), 0); }

// All threads of the cluster: what was written before is seen after.
__device__ inline void ClusterArrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
__device__ inline void ClusterWait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// The same address in the shared memory of another block of the cluster.
__device__ inline uint32_t AddressIn(uint32_t address, unsigned rank) {
  uint32_t result;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(result) : "r"(address), "r"(rank));
  return result;
}

// Stores there; the barrier of that block gets the eight bytes once they have arrived.
__device__ inline void StoreIn(uint32_t cluster_address, float2 value, uint32_t cluster_barrier) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(cluster_address),
               "r"(__float_as_uint(value.x)), "r"(__float_as_uint(value.y)), "r"(cluster_barrier)
               : "memory");
}

__device__ inline void BarrierInit(uint32_t barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Makes initialised barriers known to copies and to the cluster.
__device__ inline void BarrierInitDone() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ inline void BarrierArrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and lets the phase wait for so many bytes of copies.
__device__ inline void BarrierExpect(uint32_t barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ inline void BarrierArriveIn(uint32_t cluster_address) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(cluster_address) : "memory");
}

// Until the phase of this parity is over.
__device__ inline void BarrierWait(uint32_t barrier, unsigned parity) {
  unsigned done;
  do {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
  } while (done == 0);
}

// How long a copied line stays in the L2 cache.
constexpr uint64_t kEvictFirst = 0x12F0000000000000, kEvictLast = 0x14F0000000000000, kEvictNormal = 0x1000000000000000;

// A box of the map's matrix, from column x and row y, to shared memory; `barrier` gets its bytes.
__device__ inline void CopyBox(uint32_t target, const CUtensorMap* map, int x, int y, uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;"
      ::"r"(target), "l"(map), "r"(x), "r"(y), "r"(barrier), "l"(policy)
      : "memory");
}
// The same of a map of pairs: the firsts of pairs from y on, then their seconds.
__device__ inline void CopyPairs(uint32_t target, const CUtensorMap* map, int x, int y, uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %3, %6}], [%4], %5;"
      ::"r"(target), "l"(map), "r"(x), "r"(y), "r"(barrier), "l"(policy), "r"(0)
      : "memory");
}
// The same of a map of sixteens: from sixteen y on.
__device__ inline void CopySixteens(uint32_t target, const CUtensorMap* map, int x, int y, uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %6, %6, %3}], [%4], %5;"
      ::"r"(target), "l"(map), "r"(x), "r"(y), "r"(barrier), "l"(policy), "r"(0)
      : "memory");
}
// CopyBox to the same address in the first `blocks` blocks of the cluster; the barrier of each gets the bytes.
__device__ inline void CopyBoxToAll(uint32_t target, const CUtensorMap* map, int x, int y, uint32_t barrier, int blocks, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5, %6;"
      ::"r"(target), "l"(map), "r"(x), "r"(y), "r"(barrier), "h"(static_cast<uint16_t>((1 << blocks) - 1)), "l"(policy)
      : "memory");
}
// Between what this kernel's blocks have stored and copies that read it.
__device__ inline void FenceBeforeCopies() { asm volatile("fence.proxy.async;" ::: "memory"); }

// Adds, and lets the device see what was written before.
__device__ inline void AddRelease(unsigned long long* address, unsigned long long value) {
  asm volatile("red.release.gpu.global.add.u64 [%0], %1;" ::"l"(address), "l"(value) : "memory");
}

// What others may be about to store; FenceAcquire() behind it.
__device__ inline unsigned long long LoadRelaxed(const unsigned long long* address) {
  unsigned long long value;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
  return value;
}
__device__ inline void FenceAcquire() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

#endif

}  // namespace llavamini::kernels
