// Loaded into a server with LD_PRELOAD: breaks its GPU's context as a faulty kernel would, by a
// store to address zero, as soon as somebody writes to the named pipe $LLAVAMINI_BREAK_GPU. From
// then on every call of CUDA in that process fails.
#include <dlfcn.h>
#include <errno.h>  // program_invocation_short_name
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace {

constexpr char kStoreToZero[] =
    ".version 7.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry store_to_zero() { .reg .u64 %a; mov.u64 %a, 0; st.global.u32 [%a], 1; ret; }";

// Names as in cuda.h, which need not be there: each is looked up in the driver.
template <typename... Arguments>
void Call(void* driver, const char* name, Arguments... arguments) {
  const auto function = reinterpret_cast<int (*)(Arguments...)>(dlsym(driver, name));
  const int error = function == nullptr ? -1 : function(arguments...);
  std::fprintf(stderr, "break_gpu: %s: %d\n", name, error);
}

void BreakGpu() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (driver == nullptr) {
    std::fprintf(stderr, "break_gpu: %s\n", dlerror());
    return;
  }
  void *context = nullptr, *module = nullptr, *kernel = nullptr, *stream = nullptr;
  constexpr unsigned kOne = 1, kNoShared = 0;
  void** kNone = nullptr;
  Call(driver, "cuDevicePrimaryCtxRetain", &context, 0);  // the one that the server uses
  Call(driver, "cuCtxSetCurrent", context);
  Call(driver, "cuModuleLoadData", &module, static_cast<const void*>(kStoreToZero));
  Call(driver, "cuModuleGetFunction", &kernel, module, "store_to_zero");
  Call(driver, "cuLaunchKernel", kernel, kOne, kOne, kOne, kOne, kOne, kOne, kNoShared, stream,
       kNone, kNone);
}

void WaitAndBreak(const char* pipe) {
  const int descriptor = open(pipe, O_RDONLY | O_CLOEXEC);  // returns with the first writer
  char byte = 0;
  if (descriptor >= 0 && read(descriptor, &byte, 1) == 1) BreakGpu();
}

// Only in the server, not in a script that starts it.
[[gnu::constructor]] void Start() {
  const char* pipe = std::getenv("LLAVAMINI_BREAK_GPU");
  if (pipe == nullptr || std::strcmp(program_invocation_short_name, "llavamini-server") != 0)
    return;
  std::thread(WaitAndBreak, pipe).detach();
}

}  // namespace
