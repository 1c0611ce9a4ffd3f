#include "model/cpu/attend_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/cpu/parallel.h"
#include "model/cpu/rows.h"
#include "model/cpu/vector.h"

namespace llavamini::ops::cpu {
namespace {

// Keys are laid out in panels [dim, kPanel], so that the scores of a row are whole vectors.
constexpr int64_t kPanel = 2 * kLanes;
constexpr int64_t kTileRows = 6;           // with two vectors: twelve sums in registers
constexpr int64_t kBlock = 4 * kTileRows;  // queries whose scores stay in the cache together

// Multiplications that are worth another thread.
constexpr int64_t kWorkPerThread = 500'000;

int64_t Panels(int64_t rows) { return (rows + kPanel - 1) / kPanel; }

// c [kTileRows, kVectors] = a [kTileRows, k] · b [k, kVectors]; strides in floats.
template <int kVectors>
LLAVAMINI_INLINE void MultiplyTile(const float* a, int64_t a_stride, const float* b,
                                   int64_t b_stride, int64_t k, float* c, int64_t c_stride) {
  Floats sums[kTileRows][kVectors] = {};
  for (int64_t i = 0; i < k; ++i) {
    Floats parts[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) parts[j] = Load(b + i * b_stride + j * kLanes);
#pragma GCC unroll 6
    for (int row = 0; row < kTileRows; ++row) {
      const float factor = a[row * a_stride + i];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) sums[row][j] += parts[j] * factor;
    }
  }
#pragma GCC unroll 6
  for (int row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) Store(sums[row][j], c + row * c_stride + j * kLanes);
  }
}

// c [kBlock, width] = a [kBlock, k] · b [k, width], width up to kPanel and a multiple of kLanes.
// AVX2 has too few registers for tiles of two vectors.
template <bool kWide>
LLAVAMINI_INLINE void MultiplyBlock(const float* a, int64_t a_stride, const float* b,
                                    int64_t b_stride, int64_t k, float* c, int64_t c_stride,
                                    int64_t width) {
  for (int64_t row = 0; row < kBlock; row += kTileRows) {
    const float* rows = a + row * a_stride;
    float* out = c + row * c_stride;
    if (kWide && width == kPanel) {
      MultiplyTile<2>(rows, a_stride, b, b_stride, k, out, c_stride);
      continue;
    }
    for (int64_t at = 0; at < width; at += kLanes) {
      MultiplyTile<1>(rows, a_stride, b + at, b_stride, k, out + at, c_stride);
    }
  }
}

// One block of one head's queries.
struct Block {
  float* queries;       // [kBlock, dim], scaled; zeros behind the last row
  const float* keys;    // panels
  const float* values;  // [rows, dim]
  int64_t dim;
  int64_t rows;   // of keys that the block's last query sees
  int64_t first;  // keys that the block's first query sees; each later one sees one more if causal
  bool causal;
  float* scores;  // [kBlock, Panels(rows) · kPanel]
  float* out;     // [kBlock, dim]
};

template <bool kWide>
LLAVAMINI_INLINE void AttendBlock(const Block& block) {
  const int64_t width = Panels(block.rows) * kPanel;
  for (int64_t at = 0; at < width; at += kPanel) {
    MultiplyBlock<kWide>(block.queries, block.dim, block.keys + at * block.dim, kPanel, block.dim,
                         block.scores + at, width, kPanel);
  }
  float inverse[kBlock];
  for (int64_t row = 0; row < kBlock; ++row) {
    float* scores = block.scores + row * width;
    const int64_t seen = block.causal ? std::min(block.first + row, block.rows) : block.rows;
    for (int64_t i = seen; i < width; ++i) scores[i] = -std::numeric_limits<float>::infinity();
    inverse[row] = 1 / Exponentials(scores, width);
  }
  for (int64_t at = 0; at < block.dim; at += kPanel) {
    MultiplyBlock<kWide>(block.scores, width, block.values + at, block.dim, block.rows,
                         block.out + at, block.dim, std::min(kPanel, block.dim - at));
  }
  for (int64_t row = 0; row < kBlock; ++row) {
    float* out = block.out + row * block.dim;
    for (int64_t i = 0; i < block.dim; i += kLanes) Store(Load(out + i) * inverse[row], out + i);
  }
}

LLAVAMINI_VECTOR_CLONES void AttendNarrow(const Block& block) { AttendBlock<false>(block); }
LLAVAMINI_VECTOR_CLONES void AttendWide(const Block& block) { AttendBlock<true>(block); }

bool HasWideVectors() {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx512f");
  return wide;
#else
  return true;  // thirty-two registers
#endif
}

template <typename From, typename To>
void CopyRows(const From* from, int64_t from_stride, int64_t rows, int64_t dim, float scale, To* to,
              int64_t to_stride) {
  for (int64_t row = 0; row < rows; ++row, from += from_stride, to += to_stride) {
    for (int64_t i = 0; i < dim; ++i) to[i] = static_cast<To>(static_cast<float>(from[i]) * scale);
  }
}

// One key-value head's keys in panels; what no key fills is 0.
template <typename T>
void LayKeys(const T* keys, int64_t stride, int64_t rows, int64_t dim, float* panel) {
  for (int64_t first = 0; first < rows; first += kPanel, panel += dim * kPanel) {
    const int64_t filled = std::min(kPanel, rows - first);
    const T* from = keys + first * stride;
    for (int64_t i = 0; i < dim; ++i) {
      float* to = panel + i * kPanel;
      for (int64_t row = 0; row < filled; ++row) {
        to[row] = static_cast<float>(from[row * stride + i]);
      }
      std::fill(to + filled, to + kPanel, 0.0f);
    }
  }
}

struct Run {
  int64_t first_query, queries, first_row, rows;
  int64_t laid;  // where its keys and values lie, in floats
};

struct Item {
  int64_t run;
  int64_t first;  // query of the block, in the run
};

template <typename T>
class Attention {
 public:
  Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
            bool causal)
      : q_(q),
        k_(k),
        v_(v),
        dim_(q.size(2)),
        heads_(q.size(1)),
        shared_(k.size(1)),
        causal_(causal) {
    int64_t query = 0, row = 0, laid = 0, work = 0;
    for (size_t i = 0; i < segments.rows.size(); ++i) {
      const Run run{query, segments.query_rows[i], row, segments.rows[i], laid};
      runs_.push_back(run);
      for (int64_t first = 0; first < run.queries; first += kBlock) {
        items_.push_back({static_cast<int64_t>(i), first});
        work += 2 * kBlock * run.rows * dim_;
      }
      query += run.queries;
      row += run.rows;
      laid += shared_ * LaidSize(run);
      most_rows_ = std::max(most_rows_, run.rows);
    }
    laid_ = at::empty({laid}, q.options().dtype(at::kFloat));
    item_work_ = items_.empty() ? 1 : work / static_cast<int64_t>(items_.size());
  }

  at::Tensor operator()() {
    at::Tensor out = at::empty({q_.size(0), heads_ * dim_}, q_.options());
    const auto lays = static_cast<int64_t>(runs_.size()) * shared_;
    Parallel(lays, Grain(most_rows_ * dim_ * 4), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) LayHead(runs_[i / shared_], i % shared_);
    });
    const auto blocks = static_cast<int64_t>(items_.size()) * heads_;
    Parallel(blocks, Grain(item_work_), [&](int64_t first, int64_t last) {
      std::vector<float> space(kBlock * (2 * dim_ + Panels(most_rows_) * kPanel));
      for (int64_t i = first; i < last; ++i) {
        Attend(items_[i / heads_], i % heads_, space.data(), out);
      }
    });
    return out;
  }

 private:
  int64_t LaidSize(const Run& run) const { return 2 * Panels(run.rows) * kPanel * dim_; }
  static int64_t Grain(int64_t work) {
    return std::max<int64_t>(1, kWorkPerThread / std::max<int64_t>(1, work));
  }

  void LayHead(const Run& run, int64_t head) {
    const auto rows_of = [&](const at::Tensor& x) {
      return x.const_data_ptr<T>() + run.first_row * x.stride(0) + head * x.stride(1);
    };
    float* laid = laid_.data_ptr<float>() + run.laid + head * LaidSize(run);
    LayKeys(rows_of(k_), k_.stride(0), run.rows, dim_, laid);
    CopyRows(rows_of(v_), v_.stride(0), run.rows, dim_, /*scale=*/1,
             laid + Panels(run.rows) * kPanel * dim_, dim_);
  }

  void Attend(const Item& item, int64_t head, float* space, at::Tensor& out) const {
    const Run& run = runs_[item.run];
    const int64_t queries = std::min(kBlock, run.queries - item.first);
    const int64_t first = causal_ ? run.rows - run.queries + item.first + 1 : run.rows;
    const float* laid =
        laid_.const_data_ptr<float>() + run.laid + head / (heads_ / shared_) * LaidSize(run);
    Block block;
    block.queries = space;
    block.out = space + kBlock * dim_;
    block.scores = space + 2 * kBlock * dim_;
    block.keys = laid;
    block.values = laid + Panels(run.rows) * kPanel * dim_;
    block.dim = dim_;
    block.rows = causal_ ? first + queries - 1 : run.rows;
    block.first = first;
    block.causal = causal_;
    const int64_t at = run.first_query + item.first;
    const T* q = q_.const_data_ptr<T>() + at * q_.stride(0) + head * q_.stride(1);
    const float scale = 1 / std::sqrt(static_cast<float>(dim_));
    CopyRows(q, q_.stride(0), queries, dim_, scale, block.queries, dim_);
    std::fill(block.queries + queries * dim_, block.queries + kBlock * dim_, 0.0f);
    wide_ ? AttendWide(block) : AttendNarrow(block);
    CopyRows(block.out, dim_, queries, dim_, /*scale=*/1,
             out.data_ptr<T>() + at * out.size(1) + head * dim_, out.size(1));
  }

  const at::Tensor &q_, &k_, &v_;
  const int64_t dim_, heads_, shared_;
  const bool causal_;
  const bool wide_ = HasWideVectors();
  std::vector<Run> runs_;
  std::vector<Item> items_;
  at::Tensor laid_;  // per run and key-value head: keys in panels, then values
  int64_t most_rows_ = 0;
  int64_t item_work_ = 1;
};

}  // namespace

bool AttendsRows(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return TakesRows(q, q.size(2)) && q.stride(2) == 1 && k.stride(2) == 1 && v.stride(2) == 1;
}

at::Tensor AttendSegments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const Segments& segments, bool causal) {
  if (q.scalar_type() == at::kFloat) return Attention<float>(q, k, v, segments, causal)();
  return Attention<c10::BFloat16>(q, k, v, segments, causal)();
}

}  // namespace llavamini::ops::cpu
