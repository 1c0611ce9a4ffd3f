// What a request must be answered: found by running it alone, without the engine, on a fake model
// of its own.
#pragma once

#include <string>
#include <vector>

#include "server/engine/request.h"
#include "tests/server/engine/world.h"

namespace llavamini {

struct ExpectedAnswer {
  std::vector<TokenId> ids;  // as the deltas have them
  std::string text;
  FinishReason reason = FinishReason::kStop;
  Usage usage;  // without cached_images
};

ExpectedAnswer AnswerAlone(const World& world, const WorldRequest& request);

}  // namespace llavamini
