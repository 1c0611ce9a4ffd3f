// What kernels on the matrix units share: asynchronous copies of 16-byte pieces into shared memory, and operands of 16 × 8 × 16 products
// of 16-bit elements, read from there. Lane (g, t) = (lane / 4, lane % 4) holds of
//   a (16 × 16): rows g, g + 8, g, g + 8 at columns 2t, 2t + 1 and, in the last two, 8 more;
//   b (16 × 8):  column g at rows 2t, 2t + 1 and 8 more;
//   c (16 × 8):  rows g, g, g + 8, g + 8 at columns 2t, 2t + 1.
// All of it is there from sm_80 on.
#pragma once

#include <type_traits>

#include "model/cuda/element.cuh"

namespace llavamini::kernels {

__device__ inline unsigned SharedAddress(const void* shared) { return static_cast<unsigned>(__cvta_generic_to_shared(shared)); }

// 16 bytes from global to shared memory; zeros where not `whole`, which reads nothing.
__device__ inline void CopyPiece(unsigned target, const void* source, bool whole) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(whole ? 16 : 0) : "memory");
}

// Waits for this thread's copies.
__device__ inline void AwaitCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Four matrices of 8 rows of 16 bytes: lane i says where row i % 8 of matrix i / 8 lies, and gets columns 2t, 2t + 1 of each row g.
__device__ inline void LoadMatrices(unsigned (&out)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(address) : "memory");
}

// The same matrices transposed: rows 2t, 2t + 1 of each column g.
__device__ inline void LoadTransposed(unsigned (&out)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(address) : "memory");
}

// An 8 × 8 matrix that the lanes hold, transposed.
__device__ inline unsigned Transposed(unsigned pair) {
  unsigned out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
  return out;
}

template <typename T>
__device__ inline unsigned Pack(float low, float high) {
  const T pair[2] = {FromFloat<T>(low), FromFloat<T>(high)};
  return *reinterpret_cast<const unsigned*>(pair);
}

// c += a · b.
template <typename T>
__device__ inline void MultiplyAdd(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

}  // namespace llavamini::kernels
