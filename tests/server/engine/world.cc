#include "tests/server/engine/world.h"

#include "tests/server/engine/fake_tokenizer.h"

namespace llavamini {
namespace {

const std::vector<std::string>& StopChoices() {
  static const auto* const choices =
      new std::vector<std::string>{"ab", "c", "abca", "\xC3\xA9", "ba\n", "aab", "\xEF\xBF\xBD"};
  return *choices;
}

EngineOptions MakeOptions(Random& random) {
  EngineOptions options;
  options.max_running = static_cast<int32_t>(random.Between(1, 6));
  options.max_waiting = static_cast<int32_t>(random.Between(1, 12));
  options.max_images_per_batch = static_cast<int32_t>(random.Between(1, 4));
  options.max_images_ahead = static_cast<int32_t>(random.Between(1, 8));
  options.max_rows_ahead = random.Between(8, 80);
  options.max_step_rows = random.Between(8, 80);
  return options;
}

ModelFacts MakeFacts(Random& random) {
  ModelFacts facts = FakeFacts(static_cast<int32_t>(random.Between(3, 24)));
  facts.tokens_per_image = random.OneIn(3) ? 4 : 1;
  facts.steps_ahead = random.OneIn(3) ? 0 : 1;
  return facts;
}

FakeBehaviour MakeBehaviour(Random& random) {
  FakeBehaviour behaviour;
  behaviour.end_tokens = FakeEndTokens();
  behaviour.end_every = random.OneIn(3) ? 0 : random.Between(5, 30);
  behaviour.pieces = static_cast<int>(random.Between(1, 5));
  behaviour.has_host = !random.OneIn(4);
  if (random.OneIn(2)) behaviour.step_milliseconds = 1;
  if (random.OneIn(2)) behaviour.piece_milliseconds = 0.5;
  return behaviour;
}

WorldTroubles MakeTroubles(Random& random) {
  WorldTroubles troubles;
  if (random.OneIn(3)) return troubles;
  if (random.OneIn(3)) troubles.internal_one_in = random.Between(8, 60);
  if (random.OneIn(12)) troubles.lost_one_in = random.Between(10, 100);
  if (random.OneIn(3)) troubles.rows_that_fit_memory = random.Between(1, 4);
  if (random.OneIn(4)) troubles.too_large_one_in = random.Between(10, 60);
  if (random.OneIn(2)) troubles.slow_one_in = random.Between(2, 10);
  return troubles;
}

std::vector<WorldImage> MakeImages(Random& random) {
  std::vector<WorldImage> images(random.Between(1, 6));
  for (WorldImage& image : images) {
    image = {random.Next(), random.OneIn(4) ? 2 : 1};
  }
  return images;
}

WorldRequest MakeRequest(Random& random, const World& world, uint64_t seed, int64_t arrival_step) {
  WorldRequest request;
  request.seed = seed;
  request.arrival_step = arrival_step;
  request.prompt.resize(random.Between(1, random.OneIn(4) ? 60 : 20));
  for (TokenId& id : request.prompt) id = static_cast<TokenId>(random.Between(0, 23));
  if (random.OneIn(2)) {
    request.images.resize(random.Between(1, random.OneIn(5) ? 12 : 3));
    for (size_t& image : request.images) image = random.Next() % world.images.size();
    request.prompt[random.Next() % request.prompt.size()] = kImagePlaceholder;
  }
  request.max_tokens = random.Between(1, random.OneIn(4) ? 60 : 12);
  if (random.OneIn(3)) request.stop = {StopChoices()[random.Next() % StopChoices().size()]};
  request.ignore_eos = random.OneIn(6);
  request.logprobs = random.OneIn(3);
  request.penalty = random.OneIn(4);
  request.wants_progress = random.OneIn(2);
  request.looks_in_cache = random.OneIn(2);
  if (random.OneIn(5)) request.cancel_after = random.Between(0, 20);
  if (random.OneIn(6)) request.timeout = absl::Milliseconds(random.Between(0, 60));
  return request;
}

}  // namespace

uint64_t Random::Next() { return Mix(++state_, 0); }

int64_t Random::Between(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(Next() % static_cast<uint64_t>(high - low + 1));
}

World MakeWorld(uint64_t seed) {
  Random random(Mix(seed, 0x776F726C64));
  World world;
  world.options = MakeOptions(random);
  world.facts = MakeFacts(random);
  world.behaviour = MakeBehaviour(random);
  world.device_cache_bytes = random.OneIn(4) ? 0 : random.Between(1, 16);
  world.host_cache_bytes = random.OneIn(3) ? 0 : random.Between(1, 16);
  world.images = MakeImages(random);
  world.troubles = MakeTroubles(random);
  const int64_t count = random.Between(1, 16);
  const int64_t pause = random.OneIn(3) ? 0 : random.Between(1, 12);
  int64_t step = 0;
  for (int64_t i = 0; i < count; ++i) {
    world.requests.push_back(MakeRequest(random, world, random.Next() | 1, step));
    step += random.Between(0, pause);
  }
  return world;
}

}  // namespace llavamini
