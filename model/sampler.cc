#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <unordered_set>
#include <vector>

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

// The largest logit with the property that the logits from it upwards weigh at least target(weight
// of all).
template <typename Weigh, typename Target>
float FindLimit(absl::Span<const float> logits, Weigh weigh, Target target) {
  LimitSearch search;
  std::vector<uint64_t> weights(LimitSearch::kBins);
  uint64_t goal = 0;
  while (!search.Done(/*idle_bits=*/0)) {
    std::fill(weights.begin(), weights.end(), 0);
    for (const float logit : logits) {
      const uint32_t key = OrderedKey(logit);
      if (search.Covers(key)) weights[search.Bin(key)] += weigh(logit);
    }
    if (goal == 0) goal = target(std::accumulate(weights.begin(), weights.end(), uint64_t{0}));
    uint32_t bin = LimitSearch::kBins - 1;
    uint64_t above = search.above;
    while (above + weights[bin] < goal) above += weights[bin--];
    search.Narrow(bin, above);
  }
  return LogitOfKey(search.low);
}

// One draw from the softmax of what is kept: the largest of logit / temperature + Gumbel noise.
// Unlike a walk along cumulative probabilities, a change in a logit's last bits, as another batch
// size may bring, moves the choice only between near equals.
TokenId Draw(absl::Span<const float> logits, const SamplingContext& context) {
  const SamplingParams& params = context.params;
  const float least = LeastKept(logits, params);
  const float inverse = InverseTemperature(params.temperature);
  float best = kOut;
  TokenId chosen = 0;
  int64_t block = -1;
  RandomWords words{};
  for (TokenId id = 0; id < std::ssize(logits); ++id) {
    const float scaled = logits[id] * inverse;
    if (logits[id] < least || scaled + kMostNoise <= best) continue;  // out, or could not win
    if (id / 4 != block) {
      block = id / 4;
      words = Philox(params.seed, context.answer.size(), static_cast<uint32_t>(block));
    }
    const float score = scaled + Gumbel(words[id % 4]);
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
  return params.temperature == 0 && SamplesOnDevice(params);
}

bool SamplesOnDevice(const SamplingParams& params) {
  return params.repetition_penalty == 1 && params.frequency_penalty == 0 &&
         params.presence_penalty == 0 && !params.logprobs;
}

DeviceSampling ForDevice(const SamplingParams& params, int64_t token_index, Place place) {
  return {.temperature = params.temperature,
          .top_p = params.top_p,
          .min_p = params.min_p,
          .top_k = params.top_k,
          .seed = params.seed,
          .token_index = token_index,
          .place = place};
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

float LeastKept(absl::Span<const float> logits, const SamplingParams& params) {
  const float largest = logits[Largest(logits)];
  const float inverse = InverseTemperature(params.temperature);
  float least = kOut;
  if (AppliesTopK(params.top_k, std::ssize(logits))) {
    least = FindLimit(
        logits, [](float) { return 1; }, [&](uint64_t) { return params.top_k; });
  }
  if (params.top_p < 1) {
    const auto mass = [&](float logit) {
      return logit >= least ? Mass(logit, largest, inverse) : 0;
    };
    least =
        FindLimit(logits, mass, [&](uint64_t total) { return TopPTarget(params.top_p, total); });
  }
  if (params.min_p > 0) {
    least = std::max(least, MinPLimit(params.min_p, largest, params.temperature));
  }
  return least;
}

}  // namespace llavamini
