#include "model/sampler.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>
#include <set>
#include <vector>

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
  for (size_t i = 0; i < table.size(); ++i)
    EXPECT_EQ(Support(logits, table[i].params), table[i].kept) << "row " << i;
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
  EXPECT_EQ(Philox(0, 0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
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
