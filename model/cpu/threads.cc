#include "model/cpu/threads.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

namespace llavamini::cpu {

int QuotaCores(std::string_view cpu_max) {
  long quota = 0, period = 0;
  const char* end = cpu_max.data() + cpu_max.size();
  const auto first = std::from_chars(cpu_max.data(), end, quota);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ' ') return 0;
  const auto second = std::from_chars(first.ptr + 1, end, period);
  if (second.ec != std::errc() || quota <= 0 || period <= 0) return 0;
  return static_cast<int>((quota + period - 1) / period);
}

int DefaultThreads() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const int threads = at::get_num_threads(), quota = QuotaCores(text);
  return quota == 0 ? threads : std::min(threads, quota);
}

}  // namespace llavamini::cpu
