// Chooses tokens on the GPU as model/sampler.cc does on the host: raw device pointers and a stream.
// Asynchronous, nothing allocated or read back: may be captured in a graph. The caller checks
// cudaGetLastError().
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "model/cuda/kernels.h"
#include "model/sampler_math.h"

namespace llavamini::kernels {

struct RowSampling {
  const void* logits;              // [rows, vocab], contiguous
  const DeviceSampling* sampling;  // [rows]; read when the kernel runs
  int32_t* ids;                    // out [rows]; 0 where the place is below 0
  int32_t* newest;  // out [places]: ids[i] at sampling[i].place, if that is not below 0
  void* workspace;  // SampleRowsWorkspace(rows) bytes, aligned to 16; see there
  int rows;
  int vocab;
};

// Bytes of workspace. All zero before its first use; every SampleRows leaves it so again. Calls
// that may run at the same time each need their own.
size_t SampleRowsWorkspace(int rows);

// One token for each row, whatever the others are; at most 65535 rows.
void SampleRows(Element type, const RowSampling& problem, cudaStream_t stream);

}  // namespace llavamini::kernels
