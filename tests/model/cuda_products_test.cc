// Matrix products on a GPU, by cublasLt and by our own kernel for few rows, against the plain twins
// in float32.
#ifdef LLAVAMINI_WITH_CUDA

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "model/cuda/kernels.h"
#include "model/cuda/tensors.h"
#include "model/ops.h"
#include "tests/model/kernel_test.h"

namespace llavamini {
namespace {

struct Shape {
  int64_t n, k;
  std::string Name() const { return std::to_string(n) + " x " + std::to_string(k); }
};
// Those of LLaMA-3.1-8B, of the small checkpoints, and odd ones.
const std::vector<Shape> kShapes = {{4096, 4096}, {6144, 4096}, {4096, 14336}, {32, 56},
                                    {112, 32},    {96, 32},     {48, 256},     {1000, 520}};

class Products : public KernelTest {
 protected:
  static at::Tensor Rows(int64_t rows, int64_t width) { return OnGpu({rows, width}); }

  static void ExpectAsTwin(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           const at::Tensor& residual, const std::string& what) {
    ExpectEachClose(ops::Linear(x, {weight, bias}, residual),
                    ops::plain::Linear(Float(x), {Float(weight), Float(bias)}, Float(residual)),
                    tolerance(), what + ", " + std::to_string(x.size(0)) + " rows");
  }
  static void ExpectSumAsTwin(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              const at::Tensor& before, const std::string& what) {
    at::Tensor sum = before.clone();
    ops::AddLinear(x, {weight, bias}, sum);
    ExpectEachClose(sum, ops::plain::Linear(Float(x), {Float(weight), Float(bias)}, Float(before)),
                    tolerance(), what + ", " + std::to_string(x.size(0)) + " rows, in place");
  }
};

TEST_P(Products, LinearEqualsItsTwin) {
  for (const Shape& shape : kShapes) {
    const at::Tensor weight = Weight(shape.n, shape.k), bias = OnGpu({shape.n});
    for (const int64_t rows : {1, 2, 3, 7, 8, 9, 16, 17, 31, 32, 33, 40, 300}) {
      const at::Tensor x = Rows(rows, shape.k), residual = Rows(rows, shape.n);
      ExpectAsTwin(x, weight, {}, {}, shape.Name());
      ExpectAsTwin(x, weight, bias, {}, shape.Name() + ", bias");
      ExpectAsTwin(x, weight, {}, residual, shape.Name() + ", residual");
      ExpectAsTwin(x, weight, bias, residual, shape.Name() + ", bias, residual");
      ExpectSumAsTwin(x, weight, {}, residual, shape.Name());
      ExpectSumAsTwin(x, weight, bias, residual, shape.Name() + ", bias");
    }
  }
}

TEST_P(Products, TimedChoicesEqualTheTwin) {
  const std::vector<Shape> shapes = {{2048, 4096}, {272, 512}, {40, 24}};  // not in kShapes
  for (const Shape& shape : shapes) {
    const at::Tensor weight = Weight(shape.n, shape.k);
    for (const int64_t rows : {1, 8, 24, 40}) {
      const at::Tensor x = Rows(rows, shape.k), residual = Rows(rows, shape.n);
      ops::SetTimingProducts(true);
      ExpectAsTwin(x, weight, {}, residual, shape.Name() + ", timing");
      ops::SetTimingProducts(false);
      ExpectAsTwin(x, weight, {}, residual, shape.Name() + ", timed");
      // Fewer rows share the choice that was timed for these.
      if (rows > 8) ExpectAsTwin(x.slice(0, 5), weight, {}, residual.slice(0, 5), shape.Name());
    }
  }
}

// Each run of a candidate would add once more.
TEST_P(Products, ASumInPlaceIsAddedOnceThoughItsProductIsTimed) {
  for (const Shape& shape : std::vector<Shape>{{1024, 4096}, {288, 512}}) {  // in no other test
    const at::Tensor weight = Weight(shape.n, shape.k), bias = OnGpu({shape.n});
    for (const int64_t rows : {8, 40, 577}) {
      const at::Tensor x = Rows(rows, shape.k), before = Rows(rows, shape.n);
      ops::SetTimingProducts(true);
      ExpectSumAsTwin(x, weight, bias, before, shape.Name() + ", bias, timing");
      ExpectSumAsTwin(x, weight, {}, before, shape.Name() + ", timing");
      ops::SetTimingProducts(false);
      ExpectSumAsTwin(x, weight, bias, before, shape.Name() + ", bias, timed");
    }
  }
}

TEST_P(Products, RowsMayBeApartAndOfAnyRank) {
  const at::Tensor weight = Weight(48, 256);
  const at::Tensor apart = Rows(9, 3 * 256).slice(1, 256, 512);
  ExpectAsTwin(apart, weight, {}, {}, "rows of a wider tensor");
  const at::Tensor x = Rows(12, 256).view({3, 4, 256}), residual = Rows(12, 48).view({3, 4, 48});
  ExpectAsTwin(x, weight, {}, residual, "three dimensions");
  ExpectSumAsTwin(x, weight, {}, residual, "three dimensions");
}

TEST_P(Products, NormLinearAndNormGatedLinearEqualTheirTwins) {
  for (const Shape& shape : std::vector<Shape>{
           {6144, 4096}, {28672, 4096}, {112, 32}, {48, 256}, {96, 2048}, {1000, 520}}) {
    const at::Tensor weight = Weight(shape.n, shape.k), norm = OnGpu({shape.k});
    for (int64_t rows = 1; rows <= 9; ++rows) {
      const at::Tensor x = 3 * Rows(rows, shape.k);
      const std::string what = shape.Name() + ", " + std::to_string(rows) + " rows";
      const at::Tensor product =
          ops::plain::Linear(ops::plain::RmsNorm(Float(x), Float(norm), 1e-5), {Float(weight)}, {});
      ExpectEachClose(ops::NormLinear(x, norm, 1e-5, {weight}), product, tolerance(), what);
      ExpectEachClose(ops::NormGatedLinear(x, norm, 1e-5, {weight}),
                      ops::plain::SiluMultiply(product), tolerance(), what + ", gated");
    }
  }
}

// While it lives, a product's bits do not depend on its number of rows.
struct Deterministic {
  Deterministic() { ops::SetDeterministicProducts(true); }
  ~Deterministic() { ops::SetDeterministicProducts(false); }
};

TEST_P(Products, DeterministicOnesGiveARowTheSameBitsWhateverTheNumberOfRows) {
  const Deterministic deterministic;
  for (const Shape& shape : kShapes) {
    const at::Tensor weight = Weight(shape.n, shape.k), norm = OnGpu({shape.k});
    const at::Tensor x = Rows(300, shape.k), residual = Rows(300, shape.n);
    const at::Tensor all = ops::Linear(x, {weight}, residual),
                     gated = ops::NormGatedLinear(x, norm, 1e-5, {weight});
    ExpectAsTwin(x, weight, {}, residual, shape.Name());
    for (const int64_t rows : {1, 2, 5, 8, 9, 17, 32, 40, 128, 129}) {
      const at::Tensor some = x.narrow(0, 300 - rows, rows);
      EXPECT_TRUE(at::equal(ops::Linear(some, {weight}, residual.narrow(0, 300 - rows, rows)),
                            all.narrow(0, 300 - rows, rows)))
          << shape.Name() << ", " << rows << " rows";
      EXPECT_TRUE(at::equal(ops::NormGatedLinear(some, norm, 1e-5, {weight}),
                            gated.narrow(0, 300 - rows, rows)))
          << shape.Name() << ", " << rows << " rows, gated";
    }
  }
}

// ------------------------------------------------------------------ our own kernel

class FewRowsProducts : public Products {
 protected:
  struct Operands {
    at::Tensor x, norm, weight, residual;  // norm and residual may be undefined
    bool gated;
  };

  static kernels::FewRows ProblemOf(const Operands& o) {
    return {o.x.data_ptr(),
            o.x.stride(0),
            o.norm.defined() ? o.norm.data_ptr() : nullptr,
            1e-5F,
            o.weight.data_ptr(),
            o.residual.defined() ? o.residual.data_ptr() : nullptr,
            nullptr,
            static_cast<int>(o.x.size(0)),
            static_cast<int>(o.weight.size(0)),
            static_cast<int>(o.weight.size(1)),
            o.gated};
  }
  static at::Tensor Multiply(const Operands& o) {
    const int64_t n = o.weight.size(0);
    at::Tensor y = at::full({o.x.size(0), o.gated ? n / 2 : n}, NAN, o.x.options());
    kernels::FewRows problem = ProblemOf(o);
    problem.y = y.data_ptr();
    kernels::MultiplyFewRows(ops::cuda::ElementOf(GetParam()), problem, nullptr);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    return y;
  }
  static at::Tensor Expected(const Operands& o) {
    const at::Tensor x =
        o.norm.defined() ? ops::plain::RmsNorm(Float(o.x), Float(o.norm), 1e-5) : Float(o.x);
    at::Tensor y = ops::plain::Linear(x, {Float(o.weight)}, {});
    if (o.gated) y = ops::plain::SiluMultiply(y);
    return o.residual.defined() ? y + Float(o.residual) : y;
  }
};

TEST_P(FewRowsProducts, EqualTheTwin) {
  for (const Shape& shape :
       std::vector<Shape>{{16, 256}, {48, 512}, {64, 2048}, {6144, 4096}, {4096, 14336}}) {
    const at::Tensor weight = Weight(shape.n, shape.k), norm = OnGpu({shape.k});
    for (const int64_t rows : {1, 2, 7, 8, 9, 15, 16, 17, 24, 32}) {
      for (int kind = 0; kind < 8; ++kind) {
        Operands o{Rows(rows, shape.k), {}, weight, {}, (kind & 1) != 0};
        if ((kind & 2) != 0) o.norm = norm;
        if ((kind & 4) != 0) o.residual = Rows(rows, o.gated ? shape.n / 2 : shape.n);
        const bool fits = !o.norm.defined() || rows * (shape.k + 32) * 2 <= kernels::kFewRowsShared;
        EXPECT_EQ(kernels::CanMultiplyFewRows(ops::cuda::ElementOf(GetParam()), ProblemOf(o)),
                  fits);
        if (!fits) continue;
        ExpectEachClose(
            Multiply(o), Expected(o), tolerance(),
            shape.Name() + ", " + std::to_string(rows) + " rows, kind " + std::to_string(kind));
      }
    }
  }
}

TEST_P(FewRowsProducts, ARowsBitsDoNotDependOnTheNumberOfRows) {
  const Operands all{Rows(32, 2048), {}, Weight(64, 2048), Rows(32, 64), false};
  const at::Tensor y = Multiply(all);
  for (const int64_t rows : {1, 5, 8, 9, 16, 17, 31}) {
    Operands some = all;
    some.x = all.x.narrow(0, 32 - rows, rows);
    some.residual = all.residual.narrow(0, 32 - rows, rows);
    EXPECT_TRUE(at::equal(Multiply(some), y.narrow(0, 32 - rows, rows))) << rows << " rows";
  }
}

TEST_P(FewRowsProducts, ReadRowsOfAWiderTensorWhereTheyLie) {
  const Operands o{Rows(5, 3 * 512).slice(1, 512, 1024), {}, Weight(32, 512), {}, false};
  ExpectEachClose(Multiply(o), Expected(o), tolerance(), "strided");
}

TEST_P(FewRowsProducts, RefuseWhatTheyCannotDo) {
  const auto can = [](int64_t rows, int64_t n, int64_t k) {
    const Operands o{Rows(rows, k), {}, Rows(n, k), {}, false};
    return kernels::CanMultiplyFewRows(ops::cuda::ElementOf(GetParam()), ProblemOf(o));
  };
  EXPECT_TRUE(can(32, 16, 256));
  EXPECT_FALSE(can(33, 16, 256));
  EXPECT_FALSE(can(1, 17, 256));
  EXPECT_FALSE(can(1, 16, 128));
  const Operands o{Rows(1, 256), {}, Rows(16, 256), {}, false};
  EXPECT_FALSE(kernels::CanMultiplyFewRows(kernels::Element::kFloat32, ProblemOf(o)));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Products, kKernelDtypes, DtypeOfTest);
INSTANTIATE_TEST_SUITE_P(Dtypes, FewRowsProducts, testing::Values(at::kHalf, at::kBFloat16),
                         DtypeOfTest);

}  // namespace
}  // namespace llavamini

#endif  // LLAVAMINI_WITH_CUDA
