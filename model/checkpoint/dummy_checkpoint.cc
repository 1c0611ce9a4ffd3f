// Weights that are made up where they are used.
#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <mutex>

#include "model/checkpoint/checkpoint.h"

namespace llavamini {
namespace {

constexpr uint64_t kSeed = 0x6c6c6176616d696e;  // any fixed one
constexpr double kVectorDeviation = 0.02;
constexpr double kNormDeviation = 0.1;

uint64_t Mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t SeedOf(const std::string& name, at::IntArrayRef shape) {
  uint64_t seed = kSeed;
  for (const char c : name) seed = Mix(seed ^ static_cast<uint8_t>(c));
  for (const int64_t size : shape) seed = Mix(seed ^ static_cast<uint64_t>(size));
  return seed;
}

// Uniform values of this mean and standard deviation.
struct Spread {
  double mean = 0;
  double deviation = 0;
  double half_width() const { return deviation * std::sqrt(3.0); }
};

Spread SpreadOf(const std::string& name, at::IntArrayRef shape) {
  if (shape.size() >= 2)
    return {
        0,
        1 / std::sqrt(static_cast<double>(c10::multiply_integers(shape.begin() + 1, shape.end())))};
  return name.ends_with(".weight") ? Spread{1, kNormDeviation} : Spread{0, kVectorDeviation};
}

// Each element follows from the seed and its own index, so threads may share the work as they like.
template <typename Element>
void FillOnCpu(const at::Tensor& out, uint64_t seed, const Spread& spread) {
  Element* data = out.data_ptr<Element>();
  const auto low = static_cast<float>(spread.mean - spread.half_width());
  const auto width = static_cast<float>(2 * spread.half_width());
  at::parallel_for(0, out.numel(), 1 << 16, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint64_t bits = Mix(seed + static_cast<uint64_t>(i));
      const float unit = static_cast<float>(bits >> 40) * 0x1p-24f;  // in [0, 1)
      data[i] = static_cast<Element>(low + width * unit);
    }
  });
}

void FillOnDevice(const at::Tensor& out, uint64_t seed, const Spread& spread) {
  at::Generator generator = at::globalContext().defaultGenerator(out.device()).clone();
  {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(seed);
  }
  out.uniform_(spread.mean - spread.half_width(), spread.mean + spread.half_width(), generator);
}

class DummyCheckpoint final : public Checkpoint {
 public:
  bool Has(const std::string&) const override { return true; }

 protected:
  absl::Status Claim(const std::string&, at::IntArrayRef) override { return absl::OkStatus(); }

  absl::Status Fill(const std::string& name, const at::Tensor& out) override {
    const uint64_t seed = SeedOf(name, out.sizes());
    const Spread spread = SpreadOf(name, out.sizes());
    if (!out.is_cpu()) {
      FillOnDevice(out, seed, spread);
    } else if (out.scalar_type() == at::kBFloat16) {
      FillOnCpu<at::BFloat16>(out, seed, spread);
    } else if (out.scalar_type() == at::kHalf) {
      FillOnCpu<at::Half>(out, seed, spread);
    } else {
      FillOnCpu<float>(out, seed, spread);
    }
    return absl::OkStatus();
  }

  absl::Status CheckNothingIsLeft() const override { return absl::OkStatus(); }
  int64_t BytesOf(const std::string&) const override { return 0; }
  int64_t TotalBytes() const override { return 0; }
};

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::Dummy() { return std::make_unique<DummyCheckpoint>(); }

}  // namespace llavamini
