#include "model/device_stream.h"

#include <algorithm>
#include <limits>
#include <utility>

#ifdef LLAVAMINI_WITH_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#endif

namespace llavamini {

#ifdef LLAVAMINI_WITH_CUDA

struct DeviceStream::Impl {
  c10::cuda::CUDAStream stream;
  at::cuda::MempoolId_t pool;  // of all that is captured
};

DeviceStream::DeviceStream(const at::Device& device) {
  if (!device.is_cuda()) return;
  impl_.reset(new Impl{c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index()),
                       at::cuda::graph_pool_handle()});
}
DeviceStream::~DeviceStream() = default;

struct DeviceStream::Use::Impl {
  c10::cuda::CUDAStreamGuard guard;
};

DeviceStream::Use::Use(const DeviceStream& stream) {
  if (stream.impl_) impl_.reset(new Impl{c10::cuda::CUDAStreamGuard(stream.impl_->stream)});
}
DeviceStream::Use::~Use() = default;

void DeviceStream::Synchronize() const {
  if (impl_) impl_->stream.synchronize();
}

void DeviceStream::Follow(const DeviceStream& other) const {
  if (!impl_) return;
  at::cuda::CUDAEvent point;
  point.record(other.impl_->stream);
  point.block(impl_->stream);
}

void DeviceStream::Keep(const at::Tensor& tensor) const {
  if (!impl_) return;
  c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), impl_->stream);
}

double DeviceStream::Time(const std::function<void()>& work, int runs) const {
  if (!impl_) return 0;
  cudaEvent_t begin, end;
  C10_CUDA_CHECK(cudaEventCreate(&begin));
  C10_CUDA_CHECK(cudaEventCreate(&end));
  float least = std::numeric_limits<float>::max();
  for (int run = 0; run < runs; ++run) {
    C10_CUDA_CHECK(cudaEventRecord(begin, impl_->stream));
    work();
    C10_CUDA_CHECK(cudaEventRecord(end, impl_->stream));
    C10_CUDA_CHECK(cudaEventSynchronize(end));
    float milliseconds = 0;
    C10_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
    least = std::min(least, milliseconds);
  }
  C10_CUDA_CHECK(cudaEventDestroy(begin));
  C10_CUDA_CHECK(cudaEventDestroy(end));
  return least;
}

struct DeviceStream::Event::Impl {
  cudaEvent_t event = nullptr;
  ~Impl() {
    if (event != nullptr) C10_CUDA_IGNORE_ERROR(cudaEventDestroy(event));
  }
};

void DeviceStream::Event::Record(const DeviceStream& stream) {
  if (!stream.impl_) return;
  if (!impl_) {
    impl_ = std::make_unique<Impl>();
    C10_CUDA_CHECK(cudaEventCreateWithFlags(&impl_->event, cudaEventDisableTiming));
  }
  C10_CUDA_CHECK(cudaEventRecord(impl_->event, stream.impl_->stream));
}

void DeviceStream::Event::Wait() const {
  if (impl_) C10_CUDA_CHECK(cudaEventSynchronize(impl_->event));
}

struct Captured::Impl {
  std::function<at::Tensor()> work;  // empty: captured
  at::cuda::CUDAGraph graph;
  at::Tensor result;  // does not own its memory
};

Captured::Captured(const DeviceStream& stream, std::function<at::Tensor()> work)
    : impl_(std::make_unique<Impl>()) {
  if (!stream.impl_) {
    impl_->work = std::move(work);
    return;
  }
  work();
  stream.Synchronize();
  impl_->graph.capture_begin(stream.impl_->pool, cudaStreamCaptureModeThreadLocal);
  at::Tensor made = work();
  impl_->graph.capture_end();
  if (made.defined()) {
    impl_->result = at::from_blob(made.data_ptr(), made.sizes(), made.strides(), made.options());
  }
}

at::Tensor Captured::Run() const {
  if (impl_->work) return impl_->work();
  impl_->graph.replay();
  return impl_->result;
}

#else

struct DeviceStream::Impl {};
DeviceStream::DeviceStream(const at::Device& /*device*/) {}
DeviceStream::~DeviceStream() = default;
struct DeviceStream::Use::Impl {};
DeviceStream::Use::Use(const DeviceStream& /*stream*/) {}
DeviceStream::Use::~Use() = default;
void DeviceStream::Synchronize() const {}
void DeviceStream::Follow(const DeviceStream& /*other*/) const {}
void DeviceStream::Keep(const at::Tensor& /*tensor*/) const {}
double DeviceStream::Time(const std::function<void()>& /*work*/, int /*runs*/) const { return 0; }
struct DeviceStream::Event::Impl {};
void DeviceStream::Event::Record(const DeviceStream& /*stream*/) {}
void DeviceStream::Event::Wait() const {}

struct Captured::Impl {
  std::function<at::Tensor()> work;
};

Captured::Captured(const DeviceStream& /*stream*/, std::function<at::Tensor()> work)
    : impl_(new Impl{std::move(work)}) {}

at::Tensor Captured::Run() const { return impl_->work(); }

#endif

DeviceStream::Event::Event() = default;
DeviceStream::Event::~Event() = default;
DeviceStream::Event::Event(Event&&) noexcept = default;
DeviceStream::Event& DeviceStream::Event::operator=(Event&&) noexcept = default;

Captured::Captured() = default;
Captured::Captured(Captured&&) noexcept = default;
Captured& Captured::operator=(Captured&&) noexcept = default;
Captured::~Captured() = default;

}  // namespace llavamini
