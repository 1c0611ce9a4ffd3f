// Kernels that move rows: the input of a step, rotary embedding with the way to the pages, keys of images and text side by side.
#include "model/cuda/element.cuh"
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/model.h"

namespace llavamini::kernels {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    GatherRowsKernel(const int32_t* ids, const int32_t* places, const int32_t* newest, const T* embedding, const T* made, T* out,
                     int width) {
  LetNextKernelStart();
  AwaitEarlierKernels();
  const int64_t row = blockIdx.x;
  int32_t id = ids[row];
  if (id == kNewest) id = places[row] < 0 ? 0 : newest[places[row]];
  const T* source = id >= 0 ? embedding + static_cast<int64_t>(id) * width : made + static_cast<int64_t>(-2 - id) * width;
  for (int i = threadIdx.x * 8; i < width; i += kThreads * 8) Eight<T>::Load(source + i).Store(out + row * width + i);
}

// Turns eight elements of a head's first half with the eight of its second that belong to them, at low and low + half.
template <typename T>
__device__ inline void TurnEight(const float* cos, const float* sin, Eight<T>& low, Eight<T>& high) {
  const Eight<float> c = Eight<float>::Load(cos), s = Eight<float>::Load(sin);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float a = low.Get(i), b = high.Get(i);
    low.Set(i, Turned(a, b, c.Get(i), -s.Get(i)));
    high.Set(i, Turned(b, a, c.Get(i), s.Get(i)));
  }
}

// One block per row; a thread takes kStep adjacent pairs (i, i + dim/2) of a head after the other, then elements of the values.
template <typename T, int kStep>
__global__ void __launch_bounds__(kThreads) RotateRowsKernel(HeadRows h, const int32_t* positions, PagedRows paged) {
  LetNextKernelStart();
  const int64_t row = blockIdx.x;
  const int half = h.dim / 2, turned = h.query_heads + h.key_value_heads;
  const int head_page = kPageTokens * h.dim;  // elements of a head's page
  const int64_t position = positions[row];
  const int place = paged.places == nullptr ? -1 : paged.places[row];
  int64_t slot = 0;  // of the first head
  if (place >= 0) {
    const int64_t page = paged.page_table[static_cast<int64_t>(place) * paged.most_pages + position / kPageTokens];
    slot = (page * h.key_value_heads * kPageTokens + position % kPageTokens) * h.dim;
  }
  AwaitEarlierKernels();
  T* qkv = static_cast<T*>(h.qkv) + row * (turned + h.key_value_heads) * h.dim;
  const float* cos = h.cos + position * half;
  const float* sin = h.sin + position * half;
  for (int i = threadIdx.x * kStep; i < turned * half; i += kThreads * kStep) {
    const int head = i / half, pair = i % half;
    T* low = qkv + head * h.dim + pair;
    const bool kept = place >= 0 && head >= h.query_heads;
    T* target = static_cast<T*>(paged.k_cache) + slot + (head - h.query_heads) * head_page + pair;
    if constexpr (kStep == 8) {
      Eight<T> first = Eight<T>::Load(low), second = Eight<T>::Load(low + half);
      TurnEight(cos + pair, sin + pair, first, second);
      first.Store(low);
      second.Store(low + half);
      if (kept) {
        first.Store(target);
        second.Store(target + half);
      }
    } else {
      const float a = ToFloat(low[0]), b = ToFloat(low[half]);
      const T first = FromFloat<T>(Turned(a, b, cos[pair], -sin[pair])), second = FromFloat<T>(Turned(b, a, cos[pair], sin[pair]));
      low[0] = first;
      low[half] = second;
      if (kept) {
        target[0] = first;
        target[half] = second;
      }
    }
  }
  if (place < 0) return;
  const T* values = qkv + turned * h.dim;
  T* target = static_cast<T*>(paged.v_cache) + slot;
  for (int i = threadIdx.x * kStep; i < h.key_value_heads * h.dim; i += kThreads * kStep) {
    T* own = target + i / h.dim * head_page + i % h.dim;
    if constexpr (kStep == 8) {
      Eight<T>::Load(values + i).Store(own);
    } else {
      *own = values[i];
    }
  }
}

// Blocks (x, group): rows x, x + gridDim.x, … of the group. What stands behind the rows of the last group is zeros: attention weighs
// values there with 0.
template <typename T>
__global__ void __launch_bounds__(kThreads) PackKernel(PackKeys p) {
  LetNextKernelStart();
  AwaitEarlierKernels();
  const int group = blockIdx.y;
  const int first = p.first[group], text = p.first_text[group + 1] - p.first_text[group];
  const int rows = p.first[group + 1] - first, visual = rows - text;
  const int end = group + 1 == p.groups ? max(rows, p.all_rows - first) : rows;
  const int vectors = p.width / 8, lanes = kThreads / 2;  // half of the block takes keys, half values
  const bool keys = threadIdx.x < lanes;
  const T* image = reinterpret_cast<const T*>(keys ? p.visual_keys[group] : p.visual_values[group]);
  const T* own = static_cast<const T*>(keys ? p.keys : p.values) + p.first_text[group] * p.stride;
  T* out = static_cast<T*>(keys ? p.out_keys : p.out_values) + static_cast<int64_t>(first) * p.width;
  for (int row = blockIdx.x; row < end; row += gridDim.x) {
    const T* source = row < visual ? image + static_cast<int64_t>(row) * p.width : own + (row - visual) * p.stride;
    for (int i = threadIdx.x % lanes; i < vectors; i += lanes) {
      const Eight<T> values = row < rows ? Eight<T>::Load(source + i * 8) : Eight<T>{};
      values.Store(out + static_cast<int64_t>(row) * p.width + i * 8);
    }
  }
}

}  // namespace

void GatherRows(Element type, const int32_t* ids, const int32_t* places, const int32_t* newest, const void* embedding,
                const void* made, void* out, int64_t rows, int width, cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    LaunchDependent(GatherRowsKernel<T>, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, ids, places, newest,
                    static_cast<const T*>(embedding), static_cast<const T*>(made), static_cast<T*>(out), width);
  });
}

void RotateRows(Element type, const HeadRows& heads, const int32_t* positions, const PagedRows* paged, cudaStream_t stream) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    const auto kernel = heads.dim % 16 == 0 ? RotateRowsKernel<T, 8> : RotateRowsKernel<T, 1>;
    LaunchDependent(kernel, dim3(static_cast<unsigned>(heads.rows)), kThreads, 0, stream, heads, positions,
                    paged == nullptr ? PagedRows{} : *paged);
  });
}

void PackVisualAndText(Element type, const PackKeys& problem, cudaStream_t stream) {
  constexpr int kRowsPerBlock = 4;
  const dim3 grid(static_cast<unsigned>((problem.most_rows + kRowsPerBlock - 1) / kRowsPerBlock),
                  static_cast<unsigned>(problem.groups));
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    LaunchDependent(PackKernel<T>, grid, kThreads, 0, stream, problem);
  });
}

}  // namespace llavamini::kernels
