// Products of a warp group, four adjacent warps, on sm_90a: 64 × N × 16, both operands read from shared memory by the matrix units
// themselves. Warp w of the group holds rows 16 w … 16 w + 15 of c, as MultiplyAdd (fragments.cuh) lays them out, by eight columns each.
// Operands are rows of 128 bytes (64 elements of K), 1024-byte aligned, swizzled as copies of boxes swizzle them: piece i of row r lies
// at place i ^ (r % 8).
#pragma once

#include <cstdint>
#include <type_traits>

#include "model/cuda/element.cuh"

namespace llavamini::kernels {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Names an operand: the shared address of its first row, at the K's of 16 that the product takes (32 bytes each).
__device__ inline uint64_t GroupOperand(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightRows = uint64_t{1024 / 16} << 32;
  return kSwizzle128 | kEightRows | (address & 0x3FFFF) >> 4;
}

// Before the first product that adds to what registers hold.
__device__ inline void GroupBegin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Ends a batch of products.
__device__ inline void GroupCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until all batches are done but the last `kLeft`.
template <int kLeft = 0>
__device__ inline void GroupWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

#define LLAVAMINI_GROUP_C(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define LLAVAMINI_GROUP_C2(i) LLAVAMINI_GROUP_C(i), LLAVAMINI_GROUP_C(i + 1)
#define LLAVAMINI_GROUP_C4(i) LLAVAMINI_GROUP_C2(i), LLAVAMINI_GROUP_C2(i + 2)
#define LLAVAMINI_GROUP_C8(i) LLAVAMINI_GROUP_C4(i), LLAVAMINI_GROUP_C4(i + 4)
#define LLAVAMINI_GROUP_C16 LLAVAMINI_GROUP_C8(0), LLAVAMINI_GROUP_C8(8)
#define LLAVAMINI_GROUP_PRODUCT(type, n, registers, a_at, b_at, add_at, ...)                                                                  \
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %" add_at ", 0;\n wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " {" registers   \
               "}, %" a_at ", %" b_at ", p, 1, 1, 0, 0; }"                                                                            \
               : __VA_ARGS__                                                                                                          \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)))
#define LLAVAMINI_GROUP_R4 "%0,%1,%2,%3"
#define LLAVAMINI_GROUP_R8 LLAVAMINI_GROUP_R4 ",%4,%5,%6,%7"
#define LLAVAMINI_GROUP_R16 LLAVAMINI_GROUP_R8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define LLAVAMINI_GROUP_R24 LLAVAMINI_GROUP_R16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define LLAVAMINI_GROUP_R32 LLAVAMINI_GROUP_R24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define LLAVAMINI_GROUP_R64 LLAVAMINI_GROUP_R32 \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55" \
  ",%56,%57,%58,%59,%60,%61,%62,%63"
#define LLAVAMINI_GROUP_R76 LLAVAMINI_GROUP_R64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75"
#define LLAVAMINI_GROUP_R96 LLAVAMINI_GROUP_R64 \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87" \
  ",%88,%89,%90,%91,%92,%93,%94,%95"
#define LLAVAMINI_GROUP_R104 LLAVAMINI_GROUP_R96 ",%96,%97,%98,%99,%100,%101,%102,%103"
#define LLAVAMINI_GROUP_R116 LLAVAMINI_GROUP_R104 ",%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115"
#define LLAVAMINI_GROUP_R128 LLAVAMINI_GROUP_R116 ",%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define LLAVAMINI_GROUP_SIZES(type)                                                                                                   \
  if constexpr (kBlocks == 1) {                                                                                                       \
    LLAVAMINI_GROUP_PRODUCT(type, "8", LLAVAMINI_GROUP_R4, "4", "5", "6", LLAVAMINI_GROUP_C(0));                                           \
  } else if constexpr (kBlocks == 2) {                                                                                                \
    LLAVAMINI_GROUP_PRODUCT(type, "16", LLAVAMINI_GROUP_R8, "8", "9", "10", LLAVAMINI_GROUP_C2(0));                                         \
  } else if constexpr (kBlocks == 4) {                                                                                                \
    LLAVAMINI_GROUP_PRODUCT(type, "32", LLAVAMINI_GROUP_R16, "16", "17", "18", LLAVAMINI_GROUP_C4(0));                                      \
  } else if constexpr (kBlocks == 6) {                                                                                                \
    LLAVAMINI_GROUP_PRODUCT(type, "48", LLAVAMINI_GROUP_R24, "24", "25", "26", LLAVAMINI_GROUP_C4(0), LLAVAMINI_GROUP_C2(4));               \
  } else if constexpr (kBlocks == 8) { \
    LLAVAMINI_GROUP_PRODUCT(type, "64", LLAVAMINI_GROUP_R32, "32", "33", "34", LLAVAMINI_GROUP_C8(0)); \
  } else if constexpr (kBlocks == 19) { \
    LLAVAMINI_GROUP_PRODUCT(type, "152", LLAVAMINI_GROUP_R76, "76", "77", "78", LLAVAMINI_GROUP_C16, LLAVAMINI_GROUP_C2(16), LLAVAMINI_GROUP_C(18)); \
  } else if constexpr (kBlocks == 24) { \
    LLAVAMINI_GROUP_PRODUCT(type, "192", LLAVAMINI_GROUP_R96, "96", "97", "98", LLAVAMINI_GROUP_C16, LLAVAMINI_GROUP_C8(16)); \
  } else if constexpr (kBlocks == 26) { \
    LLAVAMINI_GROUP_PRODUCT(type, "208", LLAVAMINI_GROUP_R104, "104", "105", "106", LLAVAMINI_GROUP_C16, LLAVAMINI_GROUP_C8(16), LLAVAMINI_GROUP_C2(24)); \
  } else if constexpr (kBlocks == 29) { \
    LLAVAMINI_GROUP_PRODUCT(type, "232", LLAVAMINI_GROUP_R116, "116", "117", "118", LLAVAMINI_GROUP_C16, LLAVAMINI_GROUP_C8(16), LLAVAMINI_GROUP_C4(24), LLAVAMINI_GROUP_C(28)); \
  } else if constexpr (kBlocks == 32) { \
    LLAVAMINI_GROUP_PRODUCT(type, "256", LLAVAMINI_GROUP_R128, "128", "129", "130", LLAVAMINI_GROUP_C16, LLAVAMINI_GROUP_C8(16), LLAVAMINI_GROUP_C8(24)); \
  } else { \
    static_assert(kBlocks == 0, "a size that no product here has"); \
  }

// c = a · bᵀ, or c += it, of 64 rows of a and 8 kBlocks rows of b, which stay as they are until the batch is done; so does c.
template <typename T, int kBlocks>
__device__ inline void GroupMultiplyAdd(float (&c)[kBlocks][4], uint64_t a, uint64_t b, bool add) {
  if constexpr (std::is_same_v<T, __half>) {
    LLAVAMINI_GROUP_SIZES("f16")
  } else {
    LLAVAMINI_GROUP_SIZES("bf16")
  }
}

#undef LLAVAMINI_GROUP_SIZES
#undef LLAVAMINI_GROUP_R128
#undef LLAVAMINI_GROUP_R116
#undef LLAVAMINI_GROUP_R104
#undef LLAVAMINI_GROUP_R96
#undef LLAVAMINI_GROUP_R76
#undef LLAVAMINI_GROUP_R64
#undef LLAVAMINI_GROUP_R32
#undef LLAVAMINI_GROUP_R24
#undef LLAVAMINI_GROUP_R16
#undef LLAVAMINI_GROUP_R8
#undef LLAVAMINI_GROUP_R4
#undef LLAVAMINI_GROUP_PRODUCT
#undef LLAVAMINI_GROUP_C16
#undef LLAVAMINI_GROUP_C8
#undef LLAVAMINI_GROUP_C4
#undef LLAVAMINI_GROUP_C2
#undef LLAVAMINI_GROUP_C

// Four matrices of 8 × 8, as c holds them by columns 8 j … 8 j + 7 and packed in pairs, to shared memory by those columns: lane i says
// where column i % 8 of matrix i / 8 goes, 16 bytes.
__device__ inline void StoreTransposed(uint32_t address, const unsigned (&pairs)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(pairs[0]), "r"(pairs[1]),
               "r"(pairs[2]), "r"(pairs[3])
               : "memory");
}

#endif

}  // namespace llavamini::kernels
