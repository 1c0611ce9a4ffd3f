#include "tests/model/kernel_test.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/model.h"

namespace llavamini {

at::Tensor Random(at::IntArrayRef shape, at::ScalarType dtype) {
  static at::Generator generator = at::detail::createCPUGenerator(7);
  return at::randn(shape, generator, at::kFloat).to(dtype);
}

at::Tensor Ints(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong).to(at::kInt);
}

ops::RopeTable RandomRope(int64_t positions, int64_t dim) {
  const at::Tensor angles = 3 * Random({positions, dim / 2});
  return {angles.cos(), angles.sin()};
}

ops::PagedRows NewestRows(const std::vector<int64_t>& lengths, const ops::HeadShape& heads,
                          at::ScalarType dtype) {
  const auto rows = static_cast<int64_t>(lengths.size());
  const auto pages_of = [](int64_t length) { return (length + kPageTokens - 1) / kPageTokens; };
  int64_t pages = 3;
  for (const int64_t length : lengths) pages += pages_of(length);
  const int64_t most = pages_of(*std::max_element(lengths.begin(), lengths.end())) + 2;
  std::vector<int64_t> places(rows), positions, slots;
  std::iota(places.rbegin(), places.rend(), 1);
  const at::Tensor order = at::randperm(pages, at::kInt);
  at::Tensor table = at::zeros({rows + 1, most}, at::kInt);
  for (int64_t row = 0, used = 0; row < rows; ++row) {
    const int64_t own = pages_of(lengths[row]), newest = lengths[row] - 1;
    table[places[row]].narrow(0, 0, own).copy_(order.narrow(0, used, own));
    used += own;
    positions.push_back(newest);
    slots.push_back(order[used - 1].item<int>() * kPageTokens + newest % kPageTokens);
  }
  const std::vector<int64_t> shape = {pages, heads.key_value_heads, kPageTokens, heads.dim};
  return {Ints(places),         Ints(positions),      table,
          Random(shape, dtype), Random(shape, dtype), at::tensor(slots, at::kLong)};
}

at::Tensor BySlot(const at::Tensor& cache) { return cache.transpose(1, 2).flatten(0, 1); }

ops::PagedRows Narrow(const ops::PagedRows& rows, int64_t first, int64_t count) {
  ops::PagedRows some = rows;
  for (at::Tensor* part : {&some.places, &some.positions, &some.slots}) {
    *part = part->narrow(0, first, count).contiguous();
  }
  return some;
}

ops::PagedRows Pad(const ops::PagedRows& rows, int64_t count) {
  ops::PagedRows padded = rows;
  padded.places = at::cat({rows.places, at::full({count}, -1, rows.places.options())});
  padded.positions = at::cat({rows.positions, at::zeros({count}, rows.positions.options())});
  return padded;
}

ops::PagedRows Copy(const ops::PagedRows& rows, const at::Device& device, at::ScalarType dtype) {
  const auto copy = [&](const at::Tensor& x) {
    const at::ScalarType type = x.is_floating_point() ? dtype : x.scalar_type();
    return x.to(device, type, /*non_blocking=*/false, /*copy=*/true);
  };
  return {copy(rows.places), copy(rows.positions), copy(rows.page_table),
          copy(rows.keys),   copy(rows.values),    copy(rows.slots)};
}

ops::RopeTable Copy(const ops::RopeTable& rope, const at::Device& device) {
  return {rope.cos.to(device), rope.sin.to(device)};
}

const Tolerance& KernelTest::tolerance() {
  if (GetParam() == at::kFloat) return kFloat32;
  return GetParam() == at::kHalf ? kFloat16 : kBfloat16;
}

at::Tensor KernelTest::Weight(int64_t n, int64_t k) {
  return at::randn({n, k}, at::TensorOptions(at::kFloat).device(at::kCUDA))
      .div_(std::sqrt(static_cast<double>(k)))
      .to(GetParam());
}

at::Tensor KernelTest::Workspace(int64_t places, const ops::HeadShape& heads) {
  return at::zeros({ops::AttendWorkspace(places, heads)},
                   at::TensorOptions(at::kFloat).device(at::kCUDA));
}

std::string NameOf(const ops::HeadShape& heads) {
  return std::to_string(heads.query_heads) + " heads over " +
         std::to_string(heads.key_value_heads) + " of " + std::to_string(heads.dim);
}

}  // namespace llavamini
