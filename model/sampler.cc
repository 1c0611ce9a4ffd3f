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

constexpr float kOut =
    -std::numeric_limits<float>::infinity();  // the logit of what is never chosen

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

// What top-k, top-p and min-p leave of the vocabulary, at the params' temperature.
std::vector<TokenId> Candidates(absl::Span<const float> logits, const SamplingParams& params) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const ByLogit better{logits};
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < ids.size()) {
    std::nth_element(ids.begin(), ids.begin() + params.top_k - 1, ids.end(), better);
    ids.resize(params.top_k);
  }
  const float largest = logits[*std::min_element(ids.begin(), ids.end(), better)];
  const auto weight = [&](TokenId id) {  // probability relative to the best token's
    return std::exp(static_cast<double>(logits[id] - largest) / params.temperature);
  };
  if (params.top_p < 1) {  // the fewest whose probabilities reach top_p
    std::sort(ids.begin(), ids.end(), better);
    double total = 0, mass = 0;
    for (const TokenId id : ids) total += weight(id);
    size_t kept = 0;
    while (kept < ids.size() && mass < params.top_p * total) mass += weight(ids[kept++]);
    ids.resize(std::max<size_t>(kept, 1));
  }
  if (params.min_p > 0) std::erase_if(ids, [&](TokenId id) { return weight(id) < params.min_p; });
  return ids;
}

// -log(-log(u)) of a uniform u that belongs to (seed, index of the token, id) alone.
double Gumbel(const std::array<uint32_t, 4>& words, TokenId id) {
  const double uniform = (words[id % 4] + 0.5) * 0x1.0p-32;
  return -std::log(-std::log(uniform));
}

// One draw from the candidates' softmax: the largest of logit / temperature + Gumbel noise. Unlike
// a walk along cumulative probabilities, a change in a logit's last bits, as another batch size may
// bring, moves the choice only between near equals.
TokenId Draw(absl::Span<const float> logits, const SamplingContext& context) {
  const SamplingParams& params = context.params;
  std::vector<TokenId> ids = Candidates(logits, params);
  std::sort(ids.begin(), ids.end());
  constexpr double kNoiseRange = 27;  // of 32-bit uniforms: from -3.2 to 22.9
  double largest = -std::numeric_limits<double>::infinity();
  for (const TokenId id : ids)
    largest = std::max(largest, static_cast<double>(logits[id]) / params.temperature);
  double best = -std::numeric_limits<double>::infinity();
  TokenId chosen = ids[0];
  int64_t block = -1;
  std::array<uint32_t, 4> words{};
  for (const TokenId id : ids) {
    const double scaled = static_cast<double>(logits[id]) / params.temperature;
    if (!(scaled > largest - kNoiseRange)) continue;  // could not win
    if (id / 4 != block)
      words = Philox(params.seed, context.answer.size(), static_cast<uint32_t>(block = id / 4));
    const double score = scaled + Gumbel(words, id);
    if (score > best) {
      best = score;
      chosen = id;
    }
  }
  return chosen;
}

std::vector<TokenLogprob> Best(absl::Span<const float> logits, int32_t count, double log_sum) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto kept = std::min<ptrdiff_t>(count, std::ssize(ids));
  std::partial_sort(ids.begin(), ids.begin() + kept, ids.end(), ByLogit{logits});
  std::vector<TokenLogprob> best;
  for (ptrdiff_t i = 0; i < kept; ++i) {
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

std::array<uint32_t, 4> Philox(uint64_t seed, uint64_t index, uint32_t block) {
  std::array<uint32_t, 4> counter = {static_cast<uint32_t>(index),
                                     static_cast<uint32_t>(index >> 32), block, 0};
  std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

}  // namespace llavamini
