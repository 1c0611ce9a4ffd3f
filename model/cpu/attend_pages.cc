#include "model/cpu/attend_pages.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "model/cpu/parallel.h"
#include "model/cpu/rows.h"
#include "model/cpu/vector.h"
#include "model/memory_plan.h"

namespace llavamini::ops::cpu {
namespace {

static_assert(kPageTokens == kLanes, "the scores of one page are one vector");

// Multiplications that are worth another thread.
constexpr int64_t kWorkPerThread = 500'000;

// One row and the heads that share one key-value head.
template <typename T>
struct Group {
  const T* queries;  // [heads, dim]
  T* out;            // [heads, dim]
  int64_t heads;
  int64_t dim;
  const T* keys;    // of this key-value head in page 0: kPageTokens rows of dim
  const T* values;  // likewise
  int64_t stride;   // elements from a page to the next
  const int32_t* pages;
  int64_t seen;  // rows of the sequence, this one included
};

// Lane j is half way to a sum: of a where bit kWidth of j is 0, else of b.
template <int kWidth, int... kLane>
LLAVAMINI_INLINE Floats Halve(const Floats& a, const Floats& b,
                              std::integer_sequence<int, kLane...>) {
  constexpr int kCount = kLanes;
  return __builtin_shufflevector(a, b, ((kLane & kWidth) ? kLane + kCount : kLane)...) +
         __builtin_shufflevector(
             a, b, ((kLane & kWidth) ? (kLane ^ kWidth) + kCount : (kLane ^ kWidth))...);
}

template <int kWidth>
LLAVAMINI_INLINE void HalveAll(Floats* x) {
  for (int i = 0; i < kWidth; ++i) {
    x[i] = Halve<kWidth>(x[i], x[i + kWidth], std::make_integer_sequence<int, kLanes>());
  }
}

// The sums of sixteen vectors, one per lane; overwrites them.
LLAVAMINI_INLINE Floats SumsOf(Floats* x) {
  HalveAll<8>(x);
  HalveAll<4>(x);
  HalveAll<2>(x);
  HalveAll<1>(x);
  return x[0];
}

// scores [heads, whole pages] of all rows seen, scaled; the last page's other rows get -infinity.
template <typename T>
LLAVAMINI_INLINE void Score(const Group<T>& group, int64_t width, float* scores) {
  const float scale = 1 / std::sqrt(static_cast<float>(group.dim));
  for (int64_t first = 0; first < group.seen; first += kLanes) {
    const T* page = group.keys + int64_t{group.pages[first / kLanes]} * group.stride;
    for (int64_t head = 0; head < group.heads; ++head) {
      const T* query = group.queries + head * group.dim;
      Floats products[kLanes];
      for (int64_t row = 0; row < kLanes; ++row) {
        const T* key = page + row * group.dim;
        Floats sum = Load(query) * Load(key);
        for (int64_t i = kLanes; i < group.dim; i += kLanes) sum += Load(query + i) * Load(key + i);
        products[row] = sum;
      }
      Store(SumsOf(products) * scale, scores + head * width + first);
    }
  }
  for (int64_t head = 0; head < group.heads; ++head) {
    std::fill(scores + head * width + group.seen, scores + (head + 1) * width,
              -std::numeric_limits<float>::infinity());
  }
}

template <typename T>
LLAVAMINI_INLINE void Weigh(const Group<T>& group, int64_t width, float* scores) {
  for (int64_t head = 0; head < group.heads; ++head) {
    float* weights = scores + head * width;
    const float inverse = 1 / Exponentials(weights, width);
    for (int64_t i = 0; i < group.dim; i += kLanes) {
      Floats sum{};
      for (int64_t row = 0; row < group.seen; ++row) {
        const T* page = group.values + int64_t{group.pages[row / kLanes]} * group.stride;
        sum += Load(page + row % kLanes * group.dim + i) * weights[row];
      }
      Store(sum * inverse, group.out + head * group.dim + i);
    }
  }
}

template <typename T>
LLAVAMINI_INLINE void AttendGroup(const Group<T>& group, float* scores) {
  const int64_t width = (group.seen + kLanes - 1) / kLanes * kLanes;
  Score(group, width, scores);
  Weigh(group, width, scores);
}

LLAVAMINI_VECTOR_CLONES void Attend(const Group<float>& group, float* scores) {
  AttendGroup(group, scores);
}
LLAVAMINI_VECTOR_CLONES void Attend(const Group<c10::BFloat16>& group, float* scores) {
  AttendGroup(group, scores);
}

template <typename T>
void AttendAll(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged,
               at::Tensor& out) {
  const auto* place = paged.places.const_data_ptr<int32_t>();
  const auto* position = paged.positions.const_data_ptr<int32_t>();
  const int64_t rows = qkv.size(0), grouped = heads.query_heads / heads.key_value_heads;
  const int64_t most = rows == 0 ? 0 : *std::max_element(position, position + rows) + 1;
  const int64_t work = std::max<int64_t>(1, 2 * most * grouped * heads.dim);
  const auto attend = [&](int64_t first, int64_t last) {
    std::vector<float> scores(grouped * (most + kLanes));
    for (int64_t item = first; item < last; ++item) {
      const int64_t row = item / heads.key_value_heads, shared = item % heads.key_value_heads;
      const int64_t query = shared * grouped * heads.dim;
      T* to = out.data_ptr<T>() + row * out.size(1) + query;
      if (place[row] < 0) {
        std::fill_n(to, grouped * heads.dim, T(0));
        continue;
      }
      Attend(Group<T>{qkv.const_data_ptr<T>() + row * qkv.size(1) + query, to, grouped, heads.dim,
                      paged.keys.const_data_ptr<T>() + shared * kPageTokens * heads.dim,
                      paged.values.const_data_ptr<T>() + shared * kPageTokens * heads.dim,
                      heads.key_value_heads * kPageTokens * heads.dim,
                      paged.page_table.const_data_ptr<int32_t>() +
                          place[row] * paged.page_table.size(1),
                      position[row] + 1},
             scores.data());
    }
  };
  Parallel(rows * heads.key_value_heads, std::max<int64_t>(1, kWorkPerThread / work), attend);
}

}  // namespace

bool AttendsPages(const at::Tensor& qkv, const HeadShape& heads) {
  return TakesRows(qkv, heads.dim);
}

at::Tensor AttendPages(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged) {
  TORCH_CHECK(qkv.is_contiguous(), "rows of heads are contiguous");
  at::Tensor out = at::empty({qkv.size(0), heads.query_heads * heads.dim}, qkv.options());
  if (qkv.scalar_type() == at::kFloat) {
    AttendAll<float>(qkv, heads, paged, out);
  } else {
    AttendAll<c10::BFloat16>(qkv, heads, paged, out);
  }
  return out;
}

}  // namespace llavamini::ops::cpu
