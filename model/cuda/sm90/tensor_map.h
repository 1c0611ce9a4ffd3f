// What sm_90's copies of boxes read from: a matrix in global memory whose rows are contiguous,
// boxes of kBoxBytes of `box_rows` rows. Their 16-byte pieces are swizzled in shared memory: piece
// i of row r lies at place i ^ (r % 8). Rows past the last are zeros.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace llavamini::kernels {

inline constexpr int kBoxBytes = 128;

// Whether the driver knows them.
bool HasTensorMaps();

struct MappedMatrix {
  const void* data;  // a multiple of 16
  int64_t width, height;
  int64_t stride;     // bytes from a row to the next, a multiple of 16
  int element_bytes;  // 1 or 2
};
// Throws std::runtime_error when the driver refuses.
CUtensorMap MapMatrix(const MappedMatrix& matrix, int box_rows);
// Rows in pairs: 2 i and 2 i + 1, or with `halves` i and height / 2 + i. A box has the firsts of
// box_pairs pairs, then their seconds.
CUtensorMap MapPairs(const MappedMatrix& matrix, bool halves, int box_pairs);
// Rows by sixteens, as they are, or with `halves` eight rows and the eight that lie height / 2
// behind them. Height is a multiple of 16.
CUtensorMap MapSixteens(const MappedMatrix& matrix, bool halves, int box_sixteens);

}  // namespace llavamini::kernels
