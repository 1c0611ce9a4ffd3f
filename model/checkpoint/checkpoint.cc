#include "model/checkpoint/checkpoint.h"

#include <numeric>
#include <vector>

namespace llavamini {

bool Checkpoint::Claimed(const std::string& name, at::IntArrayRef shape) {
  if (failure_.ok()) failure_ = Claim(name, shape);
  return failure_.ok();
}

bool Checkpoint::Filled(const std::string& name, const at::Tensor& out) {
  failure_ = Fill(name, out);
  if (!failure_.ok()) return false;
  parameters_ += out.numel();
  Report(name);
  return true;
}

void Checkpoint::Report(const std::string& name) {
  done_bytes_ += BytesOf(name);
  if (progress_) progress_(done_bytes_, TotalBytes());
}

at::Tensor Checkpoint::Take(const std::string& name, at::IntArrayRef shape) {
  if (!Claimed(name, shape)) return {};
  const at::Tensor out = at::empty(shape, options_);
  return Filled(name, out) ? out : at::Tensor();
}

at::Tensor Checkpoint::TakeRows(absl::Span<const std::string> names, at::IntArrayRef rows,
                                at::IntArrayRef row) {
  TORCH_CHECK(names.size() == rows.size(), "each of the stacked tensors has its rows");
  const auto shape_of = [row](int64_t count) {
    std::vector<int64_t> shape = {count};
    shape.insert(shape.end(), row.begin(), row.end());
    return shape;
  };
  for (size_t i = 0; i < names.size(); ++i) {
    if (!Claimed(names[i], shape_of(rows[i]))) return {};
  }
  const int64_t all = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  const at::Tensor out = at::empty(shape_of(all), options_);
  for (size_t i = 0, first = 0; i < names.size(); first += rows[i++]) {
    if (!Filled(names[i], out.narrow(0, static_cast<int64_t>(first), rows[i]))) return {};
  }
  return out;
}

void Checkpoint::Expect(const std::string& name, at::IntArrayRef shape) {
  if (Claimed(name, shape)) Report(name);
}

absl::Status Checkpoint::Finish() { return failure_.ok() ? CheckNothingIsLeft() : failure_; }

}  // namespace llavamini
