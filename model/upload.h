// Small arrays on their way to the model's device, without waiting for what runs there.
#pragma once

#include <ATen/ATen.h>

#include <cstring>
#include <vector>

#include "model/page_locked.h"

namespace llavamini {

// A tensor of these values on `device`. On a GPU the copy goes through page-locked memory and is
// part of the current stream.
template <typename Value>
at::Tensor Upload(const Value* values, size_t count, const at::Device& device) {
  constexpr at::ScalarType kType = c10::CppTypeToScalarType<Value>::value;
  const auto size = static_cast<int64_t>(count);
  const at::Tensor host = device.is_cuda() ? PageLocked({size}, kType) : at::empty({size}, kType);
  if (count > 0) std::memcpy(host.data_ptr(), values, count * sizeof(Value));
  return host.to(device, /*non_blocking=*/true);
}

template <typename Value>
at::Tensor Upload(const std::vector<Value>& values, const at::Device& device) {
  return Upload(values.data(), values.size(), device);
}

}  // namespace llavamini
