#include "model/page_locked.h"

#include <ATen/core/CachingHostAllocator.h>
#include <c10/util/accumulate.h>

#include <exception>

namespace llavamini {

at::Tensor PageLocked(at::IntArrayRef sizes, at::ScalarType dtype) {
  const auto options = at::TensorOptions(dtype);
  const int64_t bytes =
      c10::multiply_integers(sizes) * static_cast<int64_t>(at::elementSize(dtype));
  if (bytes == 0) return at::empty(sizes, options);
  at::DataPtr memory = at::getHostAllocator(at::kCUDA)->allocate(static_cast<size_t>(bytes));
  void* const data = memory.get();
  const at::DeleterFnPtr let_go = memory.get_deleter();
  const auto release = [let_go, context = memory.release_context()](void* /*data*/) {
    try {
      let_go(context);
    } catch (const std::exception&) {  // the GPU is lost, and the memory with the process
    }
  };
  return at::from_blob(data, sizes, release, options);
}

}  // namespace llavamini
