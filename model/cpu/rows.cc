#include "model/cpu/rows.h"

#include <algorithm>
#include <cmath>

#include "model/cpu/parallel.h"
#include "model/cpu/vector.h"
#include "model/memory_plan.h"

namespace llavamini::ops::cpu {
namespace {

// Elements that are worth another thread.
constexpr int64_t kElementsPerThread = 65536;

// The loops, for either dtype: their clones below are one per dtype.
template <typename T>
LLAVAMINI_INLINE void Norm(const T* x, const T* weight, int64_t rows, int64_t width, float eps,
                           T* out) {
  for (int64_t row = 0; row < rows; ++row, x += width, out += width) {
    Floats squares{};
    for (int64_t i = 0; i < width; i += kLanes) {
      const Floats part = Load(x + i);
      squares += part * part;
    }
    const float scale = 1 / std::sqrt(Sum(squares) / static_cast<float>(width) + eps);
    for (int64_t i = 0; i < width; i += kLanes) {
      Store(Load(x + i) * scale * Load(weight + i), out + i);
    }
  }
}

template <typename T>
LLAVAMINI_INLINE void Silu(const T* gate_up, int64_t rows, int64_t width, T* out) {
  for (int64_t row = 0; row < rows; ++row, gate_up += 2 * width, out += width) {
    for (int64_t i = 0; i < width; i += kLanes) {
      const Floats gate = Load(gate_up + i);
      Store(gate * Sigmoid(gate) * Load(gate_up + width + i), out + i);
    }
  }
}

template <typename T>
LLAVAMINI_INLINE void Gelu(T* x, int64_t elements) {
  for (int64_t i = 0; i < elements; i += kLanes) {
    const Floats part = Load(x + i);
    Store(part * Sigmoid(part * 1.702f), x + i);
  }
}

// Turns `heads` heads of `dim` elements that lie one after another.
template <typename T>
LLAVAMINI_INLINE void Turn(T* row, int64_t heads, int64_t dim, const float* cos, const float* sin) {
  const int64_t half = dim / 2;
  for (T* head = row; head != row + heads * dim; head += dim) {
    for (int64_t i = 0; i < half; i += kLanes) {
      const Floats a = Load(head + i), b = Load(head + half + i);
      const Floats c = Load(cos + i), s = Load(sin + i);
      Store(a * c - b * s, head + i);
      Store(b * c + a * s, head + half + i);
    }
  }
}

#define LLAVAMINI_ROW_LOOPS(T)                                                                    \
  LLAVAMINI_VECTOR_CLONES void NormRows(const T* x, const T* weight, int64_t rows, int64_t width, \
                                        float eps, T* out) {                                      \
    Norm(x, weight, rows, width, eps, out);                                                       \
  }                                                                                               \
  LLAVAMINI_VECTOR_CLONES void SiluRows(const T* gate_up, int64_t rows, int64_t width, T* out) {  \
    Silu(gate_up, rows, width, out);                                                              \
  }                                                                                               \
  LLAVAMINI_VECTOR_CLONES void QuickGelus(T* x, int64_t elements) { Gelu(x, elements); }          \
  LLAVAMINI_VECTOR_CLONES void TurnHeads(T* row, int64_t heads, int64_t dim, const float* cos,    \
                                         const float* sin) {                                      \
    Turn(row, heads, dim, cos, sin);                                                              \
  }
LLAVAMINI_ROW_LOOPS(float)
LLAVAMINI_ROW_LOOPS(c10::BFloat16)
#undef LLAVAMINI_ROW_LOOPS

// Calls function(T*) with the element type of x.
template <typename Function>
void OfType(const at::Tensor& x, Function function) {
  if (x.scalar_type() == at::kFloat) {
    function(static_cast<float*>(nullptr));
  } else {
    function(static_cast<c10::BFloat16*>(nullptr));
  }
}

int64_t RowsPerThread(int64_t width) { return std::max<int64_t>(1, kElementsPerThread / width); }

// Turns the heads of each row, and then calls then(row).
template <typename Then>
void RotateRows(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, Then then) {
  TORCH_CHECK(qkv.is_contiguous(), "rows of heads are contiguous");
  const int64_t width = qkv.size(1), half = heads.dim / 2;
  const auto* position = positions.const_data_ptr<int32_t>();
  const auto *cos = rope.cos.const_data_ptr<float>(), *sin = rope.sin.const_data_ptr<float>();
  OfType(qkv, [&]<typename T>(T*) {
    T* rows = qkv.data_ptr<T>();
    Parallel(qkv.size(0), RowsPerThread(width), [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        TurnHeads(rows + row * width, heads.query_heads + heads.key_value_heads, heads.dim,
                  cos + position[row] * half, sin + position[row] * half);
        then(row, rows + row * width);
      }
    });
  });
}

}  // namespace

bool TakesRows(const at::Tensor& x, int64_t width) {
  return x.is_cpu() && width % kLanes == 0 &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor rows = x.contiguous();
  at::Tensor out = at::empty_like(rows);
  const int64_t width = rows.size(-1);
  OfType(x, [&]<typename T>(T*) {
    Parallel(rows.numel() / width, RowsPerThread(width), [&](int64_t first, int64_t last) {
      NormRows(rows.const_data_ptr<T>() + first * width, weight.const_data_ptr<T>(), last - first,
               width, static_cast<float>(eps), out.data_ptr<T>() + first * width);
    });
  });
  return out;
}

at::Tensor SiluMultiply(const at::Tensor& gate_up) {
  const at::Tensor rows = gate_up.contiguous();
  const int64_t width = rows.size(-1) / 2;
  at::Tensor out = at::empty({rows.size(0), width}, rows.options());
  OfType(rows, [&]<typename T>(T*) {
    Parallel(rows.size(0), RowsPerThread(width), [&](int64_t first, int64_t last) {
      SiluRows(rows.const_data_ptr<T>() + first * 2 * width, last - first, width,
               out.data_ptr<T>() + first * width);
    });
  });
  return out;
}

void QuickGelu(at::Tensor& x) {
  TORCH_CHECK(x.is_contiguous(), "activations are contiguous");
  OfType(x, [&]<typename T>(T*) {
    T* all = x.data_ptr<T>();
    Parallel(x.numel() / kLanes, RowsPerThread(kLanes), [&](int64_t first, int64_t last) {
      QuickGelus(all + first * kLanes, (last - first) * kLanes);
    });
  });
}

void Rotate(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
            const at::Tensor& positions) {
  RotateRows(qkv, heads, rope, positions, [](int64_t, const void*) {});
}

void RotateKeep(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, const KeptRows& kept) {
  const int64_t width = heads.key_value_heads * heads.dim, rows = kept.keys.size(1);
  TORCH_CHECK(kept.keys.stride(2) == 1 && kept.values.stride(2) == 1, "kept rows are whole");
  const auto keep = [&]<typename T>(int64_t row, const T* turned) {
    const auto copy = [&](const at::Tensor& to, const T* from) {
      std::copy_n(from, width,
                  to.data_ptr<T>() + row / rows * to.stride(0) + row % rows * to.stride(1));
    };
    copy(kept.keys, turned + heads.query_heads * heads.dim);
    copy(kept.values, turned + heads.query_heads * heads.dim + width);
  };
  RotateRows(qkv, heads, rope, positions, keep);
}

void RotateAppend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged) {
  const auto* place = paged.places.const_data_ptr<int32_t>();
  const auto* position = paged.positions.const_data_ptr<int32_t>();
  const auto* table = paged.page_table.const_data_ptr<int32_t>();
  const auto append = [&]<typename T>(int64_t row, const T* turned) {
    if (place[row] < 0) return;
    const int64_t page = table[place[row] * paged.page_table.size(1) + position[row] / kPageTokens];
    const T* keys = turned + heads.query_heads * heads.dim;
    const T* values = keys + heads.key_value_heads * heads.dim;
    for (int64_t head = 0; head < heads.key_value_heads; ++head) {
      const int64_t slot =
          (page * heads.key_value_heads + head) * kPageTokens + position[row] % kPageTokens;
      const int64_t from = head * heads.dim, to = slot * heads.dim;
      std::copy_n(keys + from, heads.dim, paged.keys.data_ptr<T>() + to);
      std::copy_n(values + from, heads.dim, paged.values.data_ptr<T>() + to);
    }
  };
  RotateRows(qkv, heads, rope, paged.positions, append);
}

}  // namespace llavamini::ops::cpu
