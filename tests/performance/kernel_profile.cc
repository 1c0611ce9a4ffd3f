#include "tests/performance/kernel_profile.h"

#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace llavamini {
namespace {

constexpr size_t kBufferBytes = size_t{8} << 20;

// CUPTI's callbacks carry no argument of ours.
std::mutex mutex;
struct Run {
  uint64_t start, end;  // ns
  std::string name;
};
std::vector<Run> runs;

void Check(CUptiResult result) {
  if (result == CUPTI_SUCCESS) return;
  const char* text = nullptr;
  cuptiGetResultString(result, &text);
  throw std::runtime_error(std::string("CUPTI: ") + (text == nullptr ? "failed" : text));
}

std::string Readable(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> plain(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return status == 0 && plain ? plain.get() : name;
}

void GiveBuffer(uint8_t** buffer, size_t* size, size_t* most_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = kBufferBytes;
  *most_records = 0;
}

void TakeBuffer(CUcontext /*context*/, uint32_t /*stream*/, uint8_t* buffer, size_t /*size*/,
                size_t valid) {
  const std::lock_guard<std::mutex> lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel9*>(record);
    runs.push_back({kernel->start, kernel->end, kernel->name});
  }
  std::free(buffer);
}

std::vector<KernelTime> TimesOf(std::vector<Run> done) {
  std::sort(done.begin(), done.end(), [](const Run& a, const Run& b) { return a.end < b.end; });
  std::map<std::string, KernelTime> kernels;
  uint64_t before = 0;  // the end of those before
  for (const Run& run : done) {
    KernelTime& time = kernels[run.name];
    ++time.calls;
    time.milliseconds += static_cast<double>(run.end - std::max(run.start, before)) * 1e-6;
    before = run.end;
  }
  std::vector<KernelTime> times;
  for (auto& [name, time] : kernels) {
    time.name = Readable(name.c_str());
    times.push_back(time);
  }
  std::sort(times.begin(), times.end(), [](const KernelTime& a, const KernelTime& b) {
    return a.milliseconds > b.milliseconds;
  });
  return times;
}

}  // namespace

std::vector<KernelTime> ProfileKernels(const std::function<void()>& work) {
  runs.clear();
  Check(cuptiActivityRegisterCallbacks(GiveBuffer, TakeBuffer));
  Check(cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  work();
  Check(cuptiActivityFlushAll(1));
  Check(cuptiActivityDisable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  const std::lock_guard<std::mutex> lock(mutex);
  return TimesOf(std::move(runs));
}

}  // namespace llavamini
