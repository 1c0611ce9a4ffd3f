// Memory of the host that a GPU copies from and to while the host goes on.
#pragma once

#include <ATen/ATen.h>

namespace llavamini {

// Uninitialised. LibTorch's own allocator keeps it for the next who asks, and until the copies that
// were begun are done. Unlike a tensor of at::empty it is also let go without throwing when the GPU
// is lost: unwinding from that very error, a destructor must not.
at::Tensor PageLocked(at::IntArrayRef sizes, at::ScalarType dtype);

}  // namespace llavamini
