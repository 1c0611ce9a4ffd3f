#include "model/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <unordered_set>

namespace llavamini {
namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();

// Larger first; of equals the lower id.
struct ByLogit {
  absl::Span<const float> logits;
  bool operator()(TokenId a, TokenId b) const {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  }
};

TokenId Largest(absl::Span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// log(sum(exp(logits))).
double LogSumExp(absl::Span<const float> logits) {
  const float largest = logits[Largest(logits)];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - largest));
  return largest + std::log(sum);
}

void Penalise(absl::Span<float> logits, const SamplingContext& context) {
  const SamplingParams& params = context.params;
  if (params.repetition_penalty != 1) {
    std::unordered_set<TokenId> seen(context.prompt.begin(), context.prompt.end());
    seen.insert(context.answer.begin(), context.answer.end());
    for (const TokenId id : seen) {
      if (id < 0) continue;
      float& logit = logits[id];
      logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    }
  }
  if (params.frequency_penalty != 0 || params.presence_penalty != 0) {
    std::map<TokenId, int> counts;
    for (const TokenId id : context.answer) ++counts[id];
    for (const auto& [id, count] : counts) {
      logits[id] -= static_cast<float>(count) * params.frequency_penalty + params.presence_penalty;
    }
  }
}

// The candidates after top-k, best first; all of them are sorted only when top-p needs the order.
std::vector<TokenId> Candidates(absl::Span<const float> logits, const SamplingParams& params) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const ByLogit better{logits};
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < ids.size()) {
    std::nth_element(ids.begin(), ids.begin() + params.top_k - 1, ids.end(), better);
    ids.resize(params.top_k);
  }
  std::sort(ids.begin(), ids.end(), better);
  return ids;
}

TokenId Draw(absl::Span<const float> logits, const SamplingContext& context) {
  const SamplingParams& params = context.params;
  std::vector<TokenId> ids = Candidates(logits, params);
  std::vector<double> weights(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    weights[i] =
        std::exp(static_cast<double>(logits[ids[i]] - logits[ids[0]]) / params.temperature);
  }
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (params.top_p < 1) {  // the fewest whose probabilities reach top_p
    double mass = 0;
    size_t kept = 0;
    while (kept < ids.size() && mass < params.top_p * total) mass += weights[kept++];
    weights.resize(std::max<size_t>(kept, 1));
  }
  if (params.min_p > 0) {  // weights are relative to the best token's already
    while (weights.size() > 1 && weights.back() < params.min_p) weights.pop_back();
  }
  total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double left = UniformAt(params.seed, context.answer.size()) * total;
  size_t chosen = 0;
  while (chosen + 1 < weights.size() && left >= weights[chosen]) left -= weights[chosen++];
  return ids[chosen];
}

std::vector<TokenLogprob> Best(absl::Span<const float> logits, int32_t count, double log_sum) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const size_t kept = std::min<size_t>(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + kept, ids.end(), ByLogit{logits});
  std::vector<TokenLogprob> best;
  for (size_t i = 0; i < kept; ++i) {
    best.push_back({ids[i], static_cast<float>(logits[ids[i]] - log_sum)});
  }
  return best;
}

}  // namespace

bool IsPlainGreedy(const SamplingParams& params) {
  return params.temperature == 0 && params.repetition_penalty == 1 &&
         params.frequency_penalty == 0 && params.presence_penalty == 0 && !params.logprobs;
}

SampledToken Sample(absl::Span<float> logits, const SamplingContext& context) {
  const SamplingParams& params = context.params;
  SampledToken result;
  std::vector<float> raw;
  if (params.logprobs) raw.assign(logits.begin(), logits.end());
  for (float& logit : logits) {
    if (std::isnan(logit)) logit = kOut;
  }
  Penalise(logits, context);
  result.token.id = params.temperature == 0 ? Largest(logits) : Draw(logits, context);
  if (params.logprobs) {
    const double log_sum = LogSumExp(raw);
    result.token.logprob = static_cast<float>(raw[result.token.id] - log_sum);
    result.top = Best(raw, params.top_logprobs, log_sum);
  }
  return result;
}

double UniformAt(uint64_t seed, uint64_t index) {
  std::array<uint32_t, 4> counter = {static_cast<uint32_t>(index),
                                     static_cast<uint32_t>(index >> 32), 0, 0};
  std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  const uint64_t bits = uint64_t{counter[0]} << 21 ^ counter[1] >> 11;  // 53 of them
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace llavamini
