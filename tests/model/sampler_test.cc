#include "model/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "c10/util/BFloat16.h"
#include "c10/util/Half.h"

namespace llavamini {
namespace {

// One choice among logits, as the answer's next token.
TokenId Choose(std::vector<float> logits, const SamplingParams& params,
               std::vector<TokenId> answer = {}, std::vector<TokenId> prompt = {}) {
  return Sample(absl::MakeSpan(logits), {prompt, answer, params}).token.id;
}

// How often each id is chosen over many seeds.
std::map<TokenId, int> Histogram(const std::vector<float>& logits, SamplingParams params,
                                 int draws = 4000) {
  std::map<TokenId, int> counts;
  for (int seed = 0; seed < draws; ++seed) {
    params.seed = static_cast<uint64_t>(seed);
    ++counts[Choose(logits, params)];
  }
  return counts;
}

std::set<TokenId> Support(const std::vector<float>& logits, const SamplingParams& params) {
  std::set<TokenId> ids;
  for (const auto& [id, count] : Histogram(logits, params)) ids.insert(id);
  return ids;
}

TEST(Sampler, GreedyTakesTheLargestLogitAndTheLowestIdOfEquals) {
  EXPECT_EQ(Choose({0.1f, 3.0f, -2.0f, 3.0f}, {}), 1);
}

TEST(Sampler, TemperatureOneDrawsWithTheProbabilitiesOfTheModel) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  const auto counts = Histogram(logits, {.temperature = 1}, 20000);
  EXPECT_NEAR(counts.at(0) / 20000.0, 0.5, 0.015);
  EXPECT_NEAR(counts.at(1) / 20000.0, 0.3, 0.015);
  EXPECT_NEAR(counts.at(2) / 20000.0, 0.2, 0.015);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  const std::vector<float> logits = {2.0f, 1.0f};
  // p(0) = 1 / (1 + exp(-1 / temperature))
  EXPECT_NEAR(Histogram(logits, {.temperature = 0.5f})[0] / 4000.0, 0.881, 0.02);
  EXPECT_NEAR(Histogram(logits, {.temperature = 2.0f})[0] / 4000.0, 0.622, 0.03);
}

TEST(Sampler, FiltersKeepWhatTheyAllow) {
  const std::vector<float> logits = {std::log(0.05f), std::log(0.45f), std::log(0.3f),
                                     std::log(0.2f)};
  struct Row {
    SamplingParams params;
    std::set<TokenId> kept;
  };
  const std::vector<Row> table = {
      {{.temperature = 1}, {0, 1, 2, 3}},
      {{.temperature = 1, .top_k = 1}, {1}},
      {{.temperature = 1, .top_k = 2}, {1, 2}},
      {{.temperature = 1, .top_k = 9}, {0, 1, 2, 3}},
      {{.temperature = 1, .top_p = 0.4f}, {1}},
      {{.temperature = 1, .top_p = 0.7f}, {1, 2}},
      {{.temperature = 1, .top_p = 0.9f}, {1, 2, 3}},
      {{.temperature = 1, .min_p = 0.5f}, {1, 2}},
      {{.temperature = 1, .min_p = 0.99f}, {1}},
      {{.temperature = 1, .top_p = 0.9f, .top_k = 3, .min_p = 0.6f}, {1, 2}},
  };
  for (size_t i = 0; i < table.size(); ++i) {
    EXPECT_EQ(Support(logits, table[i].params), table[i].kept) << "row " << i;
  }
}

TEST(Sampler, FiltersKeepOrDropEqualsTogether) {
  const std::vector<float> logits = {0, std::log(2.0f), 0, std::log(4.0f), std::log(2.0f)};
  EXPECT_EQ(Support(logits, {.temperature = 1, .top_k = 1}), (std::set<TokenId>{3}));
  EXPECT_EQ(Support(logits, {.temperature = 1, .top_k = 2}), (std::set<TokenId>{1, 3, 4}));
  EXPECT_EQ(Support(logits, {.temperature = 1, .top_p = 0.5f}), (std::set<TokenId>{1, 3, 4}));
  EXPECT_EQ(Support(logits, {.temperature = 1, .top_p = 0.85f}),
            (std::set<TokenId>{0, 1, 2, 3, 4}));
  // Of the top three, and what equals the third, half of the mass is the best's.
  EXPECT_EQ(Support(logits, {.temperature = 1, .top_p = 0.5f, .top_k = 3}), (std::set<TokenId>{3}));
}

// Logits of many magnitudes, with both zeros, equals and minus infinities, as `Stored` holds them.
template <typename Stored>
std::vector<float> Assorted(size_t count, uint64_t seed) {
  std::vector<float> logits(count);
  for (size_t i = 0; i < count; ++i) {
    const RandomWords words = Philox(seed, i, 0);
    const float sign = words[0] % 2 == 0 ? 1.0f : -1.0f;
    const float magnitude = std::exp2(static_cast<float>(words[1] % 16) - 11);
    float logit = sign * magnitude * static_cast<float>(words[2]) * 0x1p-32f;
    if (words[3] % 16 == 0) logit = sign * 0;
    if (words[3] % 16 == 1) logit = sign * 2;
    if (words[3] % 16 == 2) logit = -INFINITY;
    logits[i] = static_cast<float>(static_cast<Stored>(logit));
  }
  return logits;
}

TEST(Sampler, LimitsAreThoseOfSortedLogits) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<float> logits = Assorted<float>(seed % 2 == 0 ? 50 : 3000, seed);
    std::vector<float> sorted = logits;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (const int32_t k : {1, 2, 7, 49}) {
      EXPECT_EQ(LeastKept(logits, {.temperature = 1, .top_k = k}), sorted[k - 1]);
      for (const float p : {0.01f, 0.5f, 0.97f}) {
        const float temperature = 0.7f;
        const auto weight = [&](float x) {
          return std::exp((double{x} - sorted[0]) / temperature);
        };
        double total = 0, mass = 0;
        for (const float logit : sorted) total += logit >= sorted[k - 1] ? weight(logit) : 0;
        size_t kept = 0;
        while (mass < double{p} * total) mass += weight(sorted[kept++]);
        EXPECT_EQ(LeastKept(logits, {.temperature = temperature, .top_p = p, .top_k = k}),
                  sorted[kept - 1])
            << "k " << k << ", p " << p << ", seed " << seed;
      }
    }
    EXPECT_FLOAT_EQ(LeastKept(logits, {.temperature = 2, .min_p = 0.25f}),
                    sorted[0] + 2 * std::log(0.25f));
  }
}

TEST(Sampler, LogitsThatAreAllImpossibleGiveTheFirst) {
  const std::vector<float> logits(5, -INFINITY);
  for (const SamplingParams& params : {SamplingParams{},
                                       {.temperature = 1},
                                       {.temperature = 1, .top_p = 0.5f},
                                       {.temperature = 1, .top_k = 2},
                                       {.temperature = 1, .min_p = 0.1f}}) {
    EXPECT_EQ(Choose(logits, params), 0);
  }
}

// The limit among keys of equal weight, by LimitSearch's steps.
float Search(const std::vector<float>& logits, uint64_t goal, int idle_bits) {
  LimitSearch search;
  while (!search.Done(idle_bits)) {
    std::vector<uint64_t> bins(LimitSearch::kBins);
    for (const float logit : logits) {
      if (search.Covers(OrderedKey(logit))) ++bins.at(search.Bin(OrderedKey(logit)));
    }
    uint32_t bin = LimitSearch::kBins - 1;
    uint64_t above = search.above;
    while (above + bins.at(bin) < goal) above += bins.at(bin--);
    search.Narrow(bin, above);
  }
  return LogitOfKey(search.low);
}

template <typename Stored>
void ExpectSearchStopsWhereItsTypeDoes(int idle_bits) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> logits = Assorted<Stored>(700, seed);
    for (const uint64_t k : {1, 2, 30, 350, 690, 700}) {
      std::vector<float> sorted = logits;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      const float limit = Search(logits, k, idle_bits), exact = sorted[k - 1];
      for (const float logit : logits) {
        EXPECT_EQ(logit >= limit, logit >= exact) << logit << " at " << limit << ", " << exact;
      }
    }
  }
}

TEST(LimitSearch, MayStopAtTheBitsThatTheTypeDoesNotUse) {
  ExpectSearchStopsWhereItsTypeDoes<float>(0);
  ExpectSearchStopsWhereItsTypeDoes<c10::Half>(13);
  ExpectSearchStopsWhereItsTypeDoes<c10::BFloat16>(16);
}

TEST(LimitSearch, KeysOrderAsTheirFloatsDo) {
  std::vector<float> ascending = {-INFINITY, -3e38f, -1, -1e-40f, 0, 1e-40f, 1, 3e38f, INFINITY};
  for (size_t i = 0; i + 1 < ascending.size(); ++i) {
    EXPECT_LT(OrderedKey(ascending[i]), OrderedKey(ascending[i + 1]));
    EXPECT_EQ(LogitOfKey(OrderedKey(ascending[i])), ascending[i]);
  }
  EXPECT_EQ(OrderedKey(-0.0f), OrderedKey(0.0f));
  EXPECT_EQ(LogitOfKey(0), -INFINITY);
}

TEST(Sampler, NoiseIsFiniteAndWithinItsBounds) {
  EXPECT_NEAR(Gumbel(0), -3.13, 0.01);           // -log(-log(2⁻³³))
  EXPECT_NEAR(Gumbel(0xFFFFFFFF), 22.87, 0.01);  // -log(-log(1 - 2⁻³³))
  for (const uint32_t word : {0x12345678u, 0x7FFFFFFFu, 0x80000000u, 0xFFFF0000u}) {
    EXPECT_NEAR(Gumbel(word), -std::log(-std::log((word + 0.5) * 0x1p-32)), 2e-6);
    EXPECT_LT(Gumbel(word), kMostNoise);
  }
}

TEST(Sampler, TheDeviceSamplesWhatNeedsNeitherTheTokensSoFarNorProbabilities) {
  EXPECT_TRUE(SamplesOnDevice({.temperature = 1, .top_p = 0.5f, .top_k = 3, .min_p = 0.1f}));
  EXPECT_FALSE(SamplesOnDevice({.repetition_penalty = 1.1f}));
  EXPECT_FALSE(SamplesOnDevice({.frequency_penalty = 0.1f}));
  EXPECT_FALSE(SamplesOnDevice({.presence_penalty = 0.1f}));
  EXPECT_FALSE(SamplesOnDevice({.logprobs = true}));
}

TEST(Sampler, TheDrawDependsOnSeedAndIndexAlone) {
  const std::vector<float> logits(50, 1.0f);
  const SamplingParams params{.temperature = 1, .seed = 42};
  EXPECT_EQ(Choose(logits, params, {7}), Choose(logits, params, {9}));
  std::set<TokenId> by_index, by_seed;
  for (int i = 0; i < 20; ++i) {
    by_index.insert(Choose(logits, params, std::vector<TokenId>(i, 1)));
    by_seed.insert(Choose(logits, {.temperature = 1, .seed = static_cast<uint64_t>(i)}));
  }
  EXPECT_GT(by_index.size(), 10u);
  EXPECT_GT(by_seed.size(), 10u);
}

TEST(Sampler, PhiloxGivesThePublishedKnownAnswers) {
  // Random123's known answers for philox4x32-10.
  const RandomWords words = Philox(0, 0, 0);
  EXPECT_THAT(words.words, testing::ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
}

TEST(Sampler, LastBitsOfTheLogitsDoNotMoveTheDraw) {
  int moved = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::vector<float> logits(500), nudged(500);
    for (size_t i = 0; i < logits.size(); ++i) {
      logits[i] = static_cast<float>(Philox(seed, 1, static_cast<uint32_t>(i))[0]) * 0x1.0p-31f;
      nudged[i] = logits[i] + static_cast<float>(Philox(seed, 2, static_cast<uint32_t>(i))[0]) *
                                  0x1.0p-32f * 6e-6f;
    }
    const SamplingParams params{.temperature = 1, .seed = seed};
    moved += Choose(logits, params) != Choose(nudged, params);
  }
  EXPECT_LE(moved, 2);  // a walk along sorted cumulative probabilities moves many of them
}

TEST(Sampler, RepetitionPenaltyCountsPromptAndAnswerAndActsTowardsLessLikely) {
  const SamplingParams params{.repetition_penalty = 2};
  EXPECT_EQ(Choose({4, 3, 0}, params), 0);
  EXPECT_EQ(Choose({4, 3, 0}, params, {}, {0}), 1);                  // 4 / 2 < 3
  EXPECT_EQ(Choose({4, 3, 0}, params, {1}, {0}), 0);                 // 2 against 1.5
  EXPECT_EQ(Choose({-1, -1.5f, -9}, params, {0}), 1);                // -1 · 2 < -1.5
  EXPECT_EQ(Choose({4, 3, 0}, params, {}, {kImagePlaceholder}), 0);  // the placeholder is no token
}

TEST(Sampler, FrequencyAndPresencePenaltiesCountTheAnswerOnly) {
  EXPECT_EQ(Choose({4, 3.5f}, {.frequency_penalty = 0.4f}, {0}), 0);
  EXPECT_EQ(Choose({4, 3.5f}, {.frequency_penalty = 0.4f}, {0, 0}), 1);
  EXPECT_EQ(Choose({4, 3.5f}, {.presence_penalty = 0.4f}, {0, 0}), 0);
  EXPECT_EQ(Choose({4, 3.5f}, {.presence_penalty = 0.6f}, {0}), 1);
  EXPECT_EQ(Choose({4, 3.5f}, {.presence_penalty = 2}, {}, {0}), 0);
}

TEST(Sampler, LogProbabilitiesAreThoseBeforePenaltiesTemperatureAndFilters) {
  std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  const SamplingParams params{
      .temperature = 0.1f, .top_k = 1, .presence_penalty = 2, .logprobs = true, .top_logprobs = 2};
  const std::vector<TokenId> answer = {1};
  const SampledToken chosen = Sample(absl::MakeSpan(logits), {{}, answer, params});
  EXPECT_EQ(chosen.token.id, 2);
  EXPECT_NEAR(chosen.token.logprob, std::log(0.3f), 1e-5);
  ASSERT_EQ(chosen.top.size(), 2u);
  EXPECT_EQ(chosen.top[0].id, 1);
  EXPECT_NEAR(chosen.top[0].logprob, std::log(0.5f), 1e-5);
  EXPECT_EQ(chosen.top[1].id, 2);
}

TEST(Sampler, ALogitThatIsNoNumberIsNeverChosen) {
  EXPECT_EQ(Choose({NAN, 1, 2}, {.presence_penalty = 1}), 2);
  EXPECT_EQ(Support({NAN, 1, -INFINITY}, {.temperature = 1}), std::set<TokenId>{1});
}

}  // namespace
}  // namespace llavamini
