#include "model/cuda/products.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <vector>

#include "model/cuda/fp8.h"

namespace llavamini::kernels {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;
constexpr uint32_t kAlignment = 16;  // bytes, of all matrices
constexpr int kCandidates = 24;
constexpr int kShortlist = 5;                      // timed more often
constexpr int64_t kColdRows = 1024;                // up to here the weights' way from memory counts
constexpr size_t kFlushBytes = size_t{256} << 20;  // more than any L2 cache
constexpr int64_t kDeterministicRows = 128;  // the one algorithm for all is chosen for so many
constexpr int8_t kFastAccumulation = 0;      // of e4m3: 1 adds up in fewer bits, and faster

constexpr std::array<int64_t, 31> kRows = {1,   2,   4,   8,   16,  24,  32,  40,  48,  56,  64,
                                           80,  96,  112, 128, 160, 192, 224, 256, 320, 384, 448,
                                           512, 576, 640, 704, 768, 832, 896, 960, 1024};

void CheckCublas(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw std::runtime_error(std::string(what) + ": " + cublasLtGetStatusString(status));
  }
}

void CheckCuda(cudaError_t error) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA error: ") + cudaGetErrorString(error));
}

cudaDataType_t DataType(Element type) {
  if (type == Element::kFloat32) return CUDA_R_32F;
  return type == Element::kFloat16 ? CUDA_R_16F : CUDA_R_16BF;
}

FewRows AsFewRows(const Product& p) {
  return {p.x,
          p.x_stride,
          p.norm_weight,
          p.eps,
          p.weight,
          p.residual,
          p.y,
          static_cast<int>(std::min<int64_t>(p.rows, 1 << 20)),
          static_cast<int>(p.n),
          static_cast<int>(p.k),
          false,
          p.scales};
}

bool CanMultiplyAsFewRows(const Product& p) {
  return p.bias == nullptr && !p.activation && CanMultiplyFewRows(p.type, AsFewRows(p));
}

ActivatedProduct AsActivated(const Product& p) {
  return {p.x,
          p.x_stride,
          p.weight,
          p.bias,
          p.y,
          static_cast<int>(p.rows),
          static_cast<int>(p.n),
          static_cast<int>(p.k),
          *p.activation};
}

bool CanActivate(const Product& p) {
  return p.activation && p.scales == nullptr && CanActivateProduct(p.type, AsActivated(p));
}

// Reads x, and lets the next kernel start before that is done; what it writes is of no use.
void ReadRows(const Product& p, void* unused, cudaStream_t stream) {
  RmsNorm(p.type, p.x, p.weight, unused, p.rows, static_cast<int>(p.k), /*eps=*/1, stream);
}

// What cublasLt has multiplied, to y.
void Activate(const Product& p, cudaStream_t stream) {
  switch (*p.activation) {
    case Activation::kQuickGelu:
      return QuickGelu(p.type, p.y, p.rows * p.n, stream);
    case Activation::kGelu:
      return Gelu(p.type, p.y, p.rows * p.n, stream);
    case Activation::kSiluGate:
      return SiluMultiply(p.type, p.gate_up, p.y, p.rows, static_cast<int>(p.n / 2), stream);
  }
}

QuantizedRows QuantizedX(const Product& p) {
  return {p.x,           p.x_stride, p.x_values, p.x_scales, p.rows, static_cast<int>(p.k),
          p.norm_weight, p.eps};
}

}  // namespace

int64_t PaddedRows(int64_t rows) {
  const auto* found = std::lower_bound(kRows.begin(), kRows.end(), rows);
  return found == kRows.end() ? (rows + 255) / 256 * 256 : *found;
}

// cublasLt sees matrices by columns: yᵀ [n, rows] = W (transposed, lying as [k, n]) · xᵀ [k, rows].
struct Products::Layouts {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, y = nullptr;

  explicit Layouts(const Product& p) {
    const bool fp8 = p.scales != nullptr;
    const cudaDataType_t type = DataType(p.type), multiplied = fp8 ? CUDA_R_8F_E4M3 : type;
    CheckCublas(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                "cublasLtMatmulDescCreate");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    Set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (p.bias != nullptr) {
      Set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    }
    if (fp8) {
      Set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
      Set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
      Set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p.scales);
      Set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p.x_scales);
      Set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, kFastAccumulation);
    }
    Create(weight, multiplied, p.k, p.n, p.k);
    Create(x, multiplied, p.k, p.rows, fp8 ? p.k : p.x_stride);
    Create(y, type, p.n, p.rows, p.n);
  }
  Layouts(const Layouts&) = delete;
  Layouts& operator=(const Layouts&) = delete;
  ~Layouts() {
    cublasLtMatrixLayoutDestroy(y);
    cublasLtMatrixLayoutDestroy(x);
    cublasLtMatrixLayoutDestroy(weight);
    cublasLtMatmulDescDestroy(operation);
  }

 private:
  template <typename Value>
  void Set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    CheckCublas(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value),
                "cublasLtMatmulDescSetAttribute");
  }
  static void Create(cublasLtMatrixLayout_t& layout, cudaDataType_t type, int64_t rows,
                     int64_t columns, int64_t stride) {
    CheckCublas(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, stride),
                "cublasLtMatrixLayoutCreate");
  }
};

Products& Products::OfDevice() {
  static Products products;
  return products;
}

Products::Products() {
  CheckCublas(cublasLtCreate(&handle_), "cublasLtCreate");
  CheckCuda(cudaMalloc(&workspace_, kWorkspaceBytes));
  int device = 0;
  cudaDeviceProp properties;
  CheckCuda(cudaGetDevice(&device));
  CheckCuda(cudaGetDeviceProperties(&properties, device));
  device_ = std::string(properties.name) + ", cublasLt " + std::to_string(cublasLtGetVersion());
}

Products::Key Products::KeyOf(const Product& p) const {
  // 0: apart from what was timed for a number of rows, by an earlier start or another model.
  return {deterministic_ ? 0 : PaddedRows(p.rows),
          p.n,
          p.k,
          static_cast<int>(p.type),
          p.bias != nullptr,
          p.residual != nullptr,
          p.scales != nullptr,
          p.norm_weight != nullptr,
          p.activation ? static_cast<int>(*p.activation) : -1};
}

bool Products::Unites(const Product& product) const {
  const auto known = choices_.find(KeyOf(product));
  return known != choices_.end() && known->second && known->second->kernel == Kernel::kActivated &&
         CanActivate(product);
}

void Products::set_timing(bool timing) {
  if (timing == timing_) return;
  timing_ = timing;
  if (timing) return CheckCuda(cudaMalloc(&flushed_, kFlushBytes));
  CheckCuda(cudaFree(flushed_));
  flushed_ = nullptr;
}

void Products::Run(const Product& product, cudaStream_t stream) {
  if (!TryRun(product, stream)) throw std::runtime_error("cublasLt has no algorithm for a product");
}

bool Products::TryRun(const Product& product, cudaStream_t stream) {
  if (product.scales != nullptr && !CanQuantizeRows(QuantizedX(product))) return false;
  const MaybeChoice& choice = Choose(product, stream);
  if (!choice) return false;
  cublasStatus_t status = Multiply(product, *choice, stream);
  // What was timed for the padded number of rows need not take this one.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED && !deterministic_) {
    const MaybeChoice other = Heuristic(product);
    if (!other) return false;
    status = Multiply(product, *other, stream);
  }
  CheckCublas(status, "cublasLtMatmul");
  return true;
}

const Products::MaybeChoice& Products::Choose(const Product& product, cudaStream_t stream) {
  const Key key = KeyOf(product);
  const auto known = choices_.find(key);
  if (known != choices_.end()) return known->second;
  // Without timing a choice is remembered as well: asking takes tens of microseconds.
  return choices_
      .emplace(key, timing_ && !deterministic_ ? Time(product, stream) : Heuristic(product))
      .first->second;
}

cublasStatus_t Products::Multiply(const Product& p, const Choice& choice, cudaStream_t stream) {
  if (choice.kernel == Kernel::kFewRows) {
    if (!CanMultiplyAsFewRows(p)) return CUBLAS_STATUS_NOT_SUPPORTED;
    MultiplyFewRows(p.type, AsFewRows(p), stream);
    return CUBLAS_STATUS_SUCCESS;
  }
  if (choice.kernel == Kernel::kActivated) {
    if (!CanActivate(p)) return CUBLAS_STATUS_NOT_SUPPORTED;
    ActivateProduct(p.type, AsActivated(p), choice.tile_rows, stream);
    return CUBLAS_STATUS_SUCCESS;
  }
  if (p.scales != nullptr) QuantizeRows(p.type, QuantizedX(p), stream);
  const Layouts layouts(p);
  const float one = 1, beta = p.residual != nullptr ? 1 : 0;
  void* made = p.activation == Activation::kSiluGate ? p.gate_up : p.y;
  const cublasStatus_t status =
      cublasLtMatmul(handle_, layouts.operation, &one, p.weight, layouts.weight,
                     p.scales != nullptr ? p.x_values : p.x, layouts.x, &beta,
                     p.residual != nullptr ? p.residual : made, layouts.y, made, layouts.y,
                     &choice.algorithm, workspace_, kWorkspaceBytes, stream);
  if (status == CUBLAS_STATUS_SUCCESS && p.activation) Activate(p, stream);
  return status;
}

bool Products::Allowed(const cublasLtMatmulAlgo_t& algorithm) const {
  if (!deterministic_) return true;
  int32_t split = 1;
  uint32_t reduction = 0;
  size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split,
                                       sizeof split, &written);
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                       &reduction, sizeof reduction, &written);
  return split <= 1 && reduction == CUBLASLT_REDUCTION_SCHEME_NONE;
}

// The algorithms for this product's shape, most promising first; none where the GPU has none.
std::vector<cublasLtMatmulAlgo_t> Products::Algorithms(const Product& product) const {
  cublasLtMatmulPreference_t preference = nullptr;
  CheckCublas(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                       &kWorkspaceBytes, sizeof kWorkspaceBytes);
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    cublasLtMatmulPreferenceSetAttribute(preference, attribute, &kAlignment, sizeof kAlignment);
  }
  if (deterministic_) {  // no sums of parts of K
    const uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                         &none, sizeof none);
  }
  const Layouts layouts(product);
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, layouts.operation, layouts.weight, layouts.x, layouts.y, layouts.y, preference,
      kCandidates, found.data(), &count);
  cublasLtMatmulPreferenceDestroy(preference);
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
    return algorithms;
  }
  CheckCublas(status, "cublasLtMatmulAlgoGetHeuristic");
  for (int i = 0; i < count; ++i) {
    const bool taken = found[i].state == CUBLAS_STATUS_SUCCESS && Allowed(found[i].algo);
    if (taken) algorithms.push_back(found[i].algo);
  }
  return algorithms;
}

Products::MaybeChoice Products::Heuristic(const Product& product) const {
  Product asked = product;
  if (deterministic_) asked.rows = kDeterministicRows;
  const std::vector<cublasLtMatmulAlgo_t> algorithms = Algorithms(asked);
  if (algorithms.empty()) return std::nullopt;
  return Choice{.algorithm = algorithms.front()};
}

float Products::Milliseconds(const Product& product, const Choice& choice, cudaStream_t stream,
                             int runs) {
  const bool cold = product.rows <= kColdRows;
  cudaEvent_t begin, end;
  CheckCuda(cudaEventCreate(&begin));
  CheckCuda(cudaEventCreate(&end));
  std::vector<float> times;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  for (int run = 0; run <= runs && status == CUBLAS_STATUS_SUCCESS; ++run) {
    if (cold) CheckCuda(cudaMemsetAsync(flushed_, run, kFlushBytes, stream));
    CheckCuda(cudaEventRecord(begin, stream));
    // As in a model: x was just made, by a small kernel that lets the next one start.
    if (cold) ReadRows(product, flushed_, stream);
    status = Multiply(product, choice, stream);
    CheckCuda(cudaEventRecord(end, stream));
    CheckCuda(cudaEventSynchronize(end));
    float milliseconds = 0;
    CheckCuda(cudaEventElapsedTime(&milliseconds, begin, end));
    if (run > 0) times.push_back(milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  if (status != CUBLAS_STATUS_SUCCESS) return 1e30F;
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[runs / 2];
}

Products::MaybeChoice Products::Time(const Product& product, cudaStream_t stream) {
  std::vector<std::pair<float, Choice>> timed;
  for (const auto& algorithm : Algorithms(product)) timed.push_back({0, {.algorithm = algorithm}});
  if (CanMultiplyAsFewRows(product)) timed.push_back({0, {Kernel::kFewRows}});
  if (CanActivate(product)) {
    for (const int rows : kActivatedTiles) timed.push_back({0, {Kernel::kActivated, rows}});
  }
  if (timed.empty()) return Heuristic(product);
  for (auto& [milliseconds, choice] : timed) {
    milliseconds = Milliseconds(product, choice, stream, 1);
  }
  const auto faster = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::sort(timed.begin(), timed.end(), faster);
  timed.resize(std::min<size_t>(timed.size(), kShortlist));
  for (auto& [milliseconds, choice] : timed) {
    milliseconds = Milliseconds(product, choice, stream, 7);
  }
  return std::min_element(timed.begin(), timed.end(), faster)->second;
}

}  // namespace llavamini::kernels
