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

// So many adjacent elements: one, or eight, 16 bytes at a time.
template <typename T, int kStep>
struct Elements {
  Eight<T> eight;
  __device__ static Elements Load(const T* address) { return {Eight<T>::Load(address)}; }
  __device__ void Store(T* address) const { eight.Store(address); }
  __device__ float Get(int i) const { return eight.Get(i); }
  __device__ void Set(int i, float x) { eight.Set(i, x); }
};
template <typename T>
struct Elements<T, 1> {
  T one;
  __device__ static Elements Load(const T* address) { return {*address}; }
  __device__ void Store(T* address) const { *address = one; }
  __device__ float Get(int) const { return ToFloat(one); }
  __device__ void Set(int, float x) { one = FromFloat<T>(x); }
};

// One block per row. An item is kStep adjacent pairs (i, i + dim/2) of a head, or of a row that is kept kStep elements of its values; rows
// of LLaMA-3.1-8B have fewer items than a block has threads. What depends on no earlier kernel of the step is read before they are done.
constexpr int kRotatingThreads = 512;
template <typename T, int kStep>
__global__ void __launch_bounds__(kRotatingThreads) RotateRowsKernel(HeadRows h, const int32_t* positions, PagedRows paged) {
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
  const int of_head = half / kStep, turns = turned * of_head, copies = place >= 0 ? h.key_value_heads * h.dim / kStep : 0;
  Elements<float, kStep> cos, sin;
  const auto load_angles = [&](int item) {
    const int64_t angle = position * half + item % of_head * kStep;
    cos = Elements<float, kStep>::Load(h.cos + angle);
    sin = Elements<float, kStep>::Load(h.sin + angle);
  };
  const int own = threadIdx.x;
  if (own < turns) load_angles(own);
  AwaitEarlierKernels();
  T* qkv = static_cast<T*>(h.qkv) + row * (turned + h.key_value_heads) * h.dim;
  for (int item = own; item < turns + copies; item += kRotatingThreads) {
    if (item >= turns) {
      const int i = (item - turns) * kStep;
      Elements<T, kStep>::Load(qkv + turned * h.dim + i).Store(static_cast<T*>(paged.v_cache) + slot + i / h.dim * head_page + i % h.dim);
      continue;
    }
    if (item != own) load_angles(item);
    const int head = item / of_head, pair = item % of_head * kStep;
    T* low = qkv + head * h.dim + pair;
    auto first = Elements<T, kStep>::Load(low), second = Elements<T, kStep>::Load(low + half);
#pragma unroll
    for (int i = 0; i < kStep; ++i) {
      const float a = first.Get(i), b = second.Get(i);
      first.Set(i, Turned(a, b, cos.Get(i), -sin.Get(i)));
      second.Set(i, Turned(b, a, cos.Get(i), sin.Get(i)));
    }
    first.Store(low);
    second.Store(low + half);
    if (place < 0 || head < h.query_heads) continue;
    T* target = static_cast<T*>(paged.k_cache) + slot + (head - h.query_heads) * head_page + pair;
    first.Store(target);
    second.Store(target + half);
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
    LaunchDependent(kernel, dim3(static_cast<unsigned>(heads.rows)), kRotatingThreads, 0, stream, heads, positions,
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
