// Matrix products on the GPU: for each shape the fastest of cublasLt's algorithms and our own
// kernels, timed at start-up and kept in a file. Used by the thread that owns the device.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "model/cuda/kernels.h"

namespace llavamini::kernels {

// y = x Wᵀ + bias + residual; y may be the residual itself. Or an activation of it, without a
// residual.
struct Product {
  Element type;   // of all but e4m3 weights
  const void* x;  // [rows, k]
  int64_t x_stride;
  const void* weight;    // [n, k]
  const void* bias;      // [n], or null
  const void* residual;  // [rows, n], or null
  void* y;               // [rows, n]
  int64_t rows, n, k;

  // Weights in e4m3 (fp8.h), times scales. cublasLt then takes x in e4m3 as well, from x_values.
  const float* scales = nullptr;      // [n]; null: the weights are of `type`, the rest is not read
  const void* norm_weight = nullptr;  // [k]: x is normalised first; null: it is not
  float eps = 0;
  uint8_t* x_values = nullptr;  // to be written: [rows, k]
  float* x_scales = nullptr;    // to be written: [rows]

  std::optional<Activation> activation = {};
  // Of kSiluGate, whose y is [rows, n / 2], to be written where Unites() is false: [rows, n].
  void* gate_up = nullptr;
};

// The number of rows that a step, or a product in it, is made for: the next larger of a fixed list.
int64_t PaddedRows(int64_t rows);

class Products {
 public:
  // The current device's. cublasLt's handle, its workspace and what was timed belong to the device,
  // whatever model runs on it.
  static Products& OfDevice();

  // Throws std::runtime_error when cublasLt refuses.
  void Run(const Product& product, cudaStream_t stream);

  // The same, but false, and nothing is done, where cublasLt has no algorithm. So it is with e4m3
  // weights except on sm_90: only there it scales by rows (cublasLt 13).
  bool TryRun(const Product& product, cudaStream_t stream);

  // Whether the next call runs this product once: of a new shape one may be timed, many times over.
  bool Knows(const Product& product) const { return choices_.contains(KeyOf(product)); }

  // Whether Run() makes this product and its activation by one kernel, as far as is known.
  bool Unites(const Product& product) const;

  // While true, a shape that is new is timed; else it takes what cublasLt thinks best. Not inside a
  // capture.
  void set_timing(bool timing);
  bool timing() const { return timing_; }

  // One algorithm for all numbers of rows of a weight's shape, which adds up in one order: results
  // do not depend on the number of rows. Before the first Run().
  void set_deterministic(bool deterministic) { deterministic_ = deterministic; }
  bool deterministic() const { return deterministic_; }

  // What was timed, as JSON. A file of another GPU or cublasLt is ignored, as is one that cannot be
  // read; failing to write costs the next start its time only.
  void Load(const std::filesystem::path& file);
  void Save(const std::filesystem::path& file) const;

 private:
  struct Key {
    int64_t rows, n, k;
    int type;
    bool bias, residual, fp8, norm;
    int activation;  // or -1
    auto Tied() const { return std::tie(rows, n, k, type, bias, residual, fp8, norm, activation); }
    bool operator<(const Key& other) const { return Tied() < other.Tied(); }
  };
  enum class Kernel { kCublasLt, kFewRows, kActivated };
  struct Choice {
    Kernel kernel = Kernel::kCublasLt;
    int tile_rows = 0;                 // of kActivated
    cublasLtMatmulAlgo_t algorithm{};  // of kCublasLt
  };
  struct Layouts;

  Products();
  Key KeyOf(const Product& product) const;
  using MaybeChoice = std::optional<Choice>;  // of nothing: there is no algorithm
  const MaybeChoice& Choose(const Product& product, cudaStream_t stream);
  MaybeChoice Time(const Product& product, cudaStream_t stream);
  MaybeChoice Heuristic(const Product& product) const;
  std::vector<cublasLtMatmulAlgo_t> Algorithms(const Product& product) const;
  bool Allowed(const cublasLtMatmulAlgo_t& algorithm) const;
  cublasStatus_t Multiply(const Product& product, const Choice& choice, cudaStream_t stream);
  float Milliseconds(const Product& product, const Choice& choice, cudaStream_t stream, int runs);

  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  // While timing: overwritten between runs, so that weights come from memory.
  void* flushed_ = nullptr;
  std::string device_;  // name and versions: what a timing is good for
  std::map<Key, MaybeChoice> choices_;
  bool timing_ = false;
  bool deterministic_ = false;
};

}  // namespace llavamini::kernels
