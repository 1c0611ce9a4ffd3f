// The arithmetic of sampling that the CPU (sampler.cc) and the GPU (cuda/sampling.cu) share, so
// that both choose the same token. No torch, no CUDA header.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#ifdef __CUDACC__
#define LLAVAMINI_HOST_DEVICE __host__ __device__
#else
#define LLAVAMINI_HOST_DEVICE
#endif

namespace llavamini {

// How the GPU chooses one row's token; read from the device's memory.
struct DeviceSampling {
  float temperature = 0;
  float top_p = 1;
  float min_p = 0;
  int32_t top_k = 0;
  uint64_t seed = 0;
  int64_t token_index = 0;  // of the token to choose, in its answer
  int32_t place = -1;       // whose newest token this becomes; below 0: the row chooses nothing
  int32_t unused = 0;       // so that no byte of an array of these is undefined
};

struct RandomWords {
  uint32_t words[4];
  LLAVAMINI_HOST_DEVICE uint32_t operator[](int i) const { return words[i]; }
};

// Philox4x32-10 (Salmon et al. 2011) with the seed as key and (index, block) as counter.
LLAVAMINI_HOST_DEVICE inline RandomWords Philox(uint64_t seed, uint64_t index, uint32_t block) {
  RandomWords counter = {
      {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), block, 0}};
  uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {{static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)}};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// -log(-log(u)) of u = (word + 0.5) / 2³²: from -3.2 to 22.9.
inline constexpr float kMostNoise = 23;
LLAVAMINI_HOST_DEVICE inline float Gumbel(uint32_t word) {
  const float uniform = (static_cast<float>(word) + 0.5f) * 0x1p-32f;
  const float rest = (static_cast<float>(~word) + 0.5f) * 0x1p-32f;  // 1 - u, exact where u nears 1
  return -logf(word < 0x80000000u ? -logf(uniform) : -log1pf(-rest));
}

// What a logit is multiplied with; temperatures below 1e-5 act as 1e-5, so that it stays finite.
LLAVAMINI_HOST_DEVICE inline float InverseTemperature(float temperature) {
  return 1.0f / (temperature > 1e-5f ? temperature : 1e-5f);
}

// A float as an integer of the same order; both zeros have the same.
LLAVAMINI_HOST_DEVICE inline uint32_t OrderedKey(float x) {
  const float canonical = x + 0.0f;  // -0 + 0 = 0
  uint32_t bits;
  memcpy(&bits, &canonical, sizeof(bits));
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// The least float whose key is at least `key`.
LLAVAMINI_HOST_DEVICE inline float LogitOfKey(uint32_t key) {
  constexpr uint32_t kOfMinusInfinity = 0x007FFFFF;  // what lies below is no number
  if (key < kOfMinusInfinity) key = kOfMinusInfinity;
  const uint32_t bits = key >> 31 ? key & 0x7FFFFFFFu : ~key;
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// Finds the largest key with the property that all keys from it upwards weigh at least a target
// (top-k: each weighs 1, top-p: its mass), one digit of the key per pass over the row. Whole
// numbers: exact, in whatever order the weights are added.
struct LimitSearch {
  static constexpr int kBinBits = 11;
  static constexpr uint32_t kBins = 1u << kBinBits;

  uint32_t low = 0;            // the sought key is one of low … low + span
  uint32_t span = 0xFFFFFFFF;  // a power of two less 1
  int shift = 32 - kBinBits;   // of the pass to come, whose bins are 2^shift keys wide
  uint64_t above = 0;          // weight of all keys above low + span

  LLAVAMINI_HOST_DEVICE bool Covers(uint32_t key) const { return key - low <= span; }
  LLAVAMINI_HOST_DEVICE uint32_t Bin(uint32_t key) const { return (key - low) >> shift; }
  // The sought key is in `bin`; all bins above it, and what lay above them, weigh above_bin.
  LLAVAMINI_HOST_DEVICE void Narrow(uint32_t bin, uint64_t above_bin) {
    low += bin << shift;
    span = (1u << shift) - 1;
    shift = shift > kBinBits ? shift - kBinBits : 0;
    above = above_bin;
  }
  // Whether the keys left are one logit's; those of some types differ only above their lowest bits.
  LLAVAMINI_HOST_DEVICE bool Done(int idle_bits) const { return span >> idle_bits == 0; }
};

// The token's probability relative to the largest logit's, in 2⁻³¹.
LLAVAMINI_HOST_DEVICE inline uint32_t Mass(float logit, float largest, float inverse_temperature) {
  if (logit == largest) return 0x80000000u;  // infinities as well
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): never negative, and the same on the GPU
  return static_cast<uint32_t>(expf((logit - largest) * inverse_temperature) * 0x1p31f + 0.5f);
}

// The mass that top-p's tokens reach, of the total.
LLAVAMINI_HOST_DEVICE inline uint64_t TopPTarget(float top_p, uint64_t total) {
  const uint64_t target =
      static_cast<uint64_t>(ceil(static_cast<double>(top_p) * static_cast<double>(total)));
  return target == 0 ? 1 : target;
}

// The least logit that min-p keeps.
LLAVAMINI_HOST_DEVICE inline float MinPLimit(float min_p, float largest, float temperature) {
  return static_cast<float>(largest + temperature * log(static_cast<double>(min_p)));
}

// Which filters a row asks for.
LLAVAMINI_HOST_DEVICE inline bool AppliesTopK(int32_t top_k, int64_t vocab) {
  return top_k > 0 && top_k < vocab;
}
LLAVAMINI_HOST_DEVICE inline bool AppliesLimits(const DeviceSampling& sampling, int64_t vocab) {
  return sampling.temperature > 0 &&
         (AppliesTopK(sampling.top_k, vocab) || sampling.top_p < 1 || sampling.min_p > 0);
}

}  // namespace llavamini
