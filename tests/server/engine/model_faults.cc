#include <algorithm>
#include <utility>

#include "tests/server/engine/planted_faults.h"

namespace llavamini {
namespace {

// Passes every call on; a fault changes one of them.
class Forwarding : public Model {
 public:
  explicit Forwarding(Model& model) : model_(model) {}
  const ModelFacts& facts() const override { return model_.facts(); }
  absl::StatusOr<std::vector<EncodedImagePtr>> EncodeImages(
      absl::Span<const ImageInput* const> images) override {
    return model_.EncodeImages(images);
  }
  absl::StatusOr<std::vector<SampledToken>> Prefill(absl::Span<const PromptRow> prompts) override {
    return model_.Prefill(prompts);
  }
  absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) override {
    return model_.Decode(rows);
  }

 protected:
  Model& model_;
};

template <typename Faulty>
PlantedFault With() {
  PlantedFault fault;
  fault.wrap_model = [](Model& model) { return std::make_unique<Faulty>(model); };
  return fault;
}

class MixingUpNeighbours : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) override {
    auto sampled = model_.Decode(rows);
    if (sampled.ok()) std::reverse(sampled->begin(), sampled->end());
    return sampled;
  }
};

class MixingUpImages : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::vector<EncodedImagePtr>> EncodeImages(
      absl::Span<const ImageInput* const> images) override {
    auto encoded = model_.EncodeImages(images);
    if (encoded.ok()) std::rotate(encoded->begin(), encoded->begin() + 1, encoded->end());
    return encoded;
  }
};

class MiscountingPositions : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) override {
    std::vector<DecodeRow> changed(rows.begin(), rows.end());
    for (DecodeRow& row : changed) row.position += 1;
    return model_.Decode(changed);
  }
};

class PassingTheWrongPages : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) override {
    std::vector<DecodeRow> changed(rows.begin(), rows.end());
    if (changed.size() > 1) std::swap(changed[0].pages, changed[1].pages);
    return model_.Decode(changed);
  }
};

class FailingAllWhenMemoryRunsOut : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) override {
    auto sampled = model_.Decode(rows);
    if (absl::IsResourceExhausted(sampled.status())) return absl::InternalError("memory");
    return sampled;
  }
};

class GoingOnAfterAFailure : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::vector<SampledToken>> Decode(absl::Span<const DecodeRow> rows) override {
    auto sampled = model_.Decode(rows);
    if (absl::IsInternal(sampled.status())) return std::vector<SampledToken>(rows.size());
    return sampled;
  }
};

class EncodingTwice : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::vector<EncodedImagePtr>> EncodeImages(
      absl::Span<const ImageInput* const> images) override {
    model_.EncodeImages(images.subspan(0, 1)).IgnoreError();
    return model_.EncodeImages(images);
  }
};

}  // namespace

std::vector<NamedFault> ModelFaults() {
  return {
      {"MixesUpNeighbours", "other tokens than alone", With<MixingUpNeighbours>()},
      {"MixesUpImages", "other tokens than alone", With<MixingUpImages>()},
      {"MiscountsPositions", "a position is not the number of rows written",
       With<MiscountingPositions>()},
      {"PassesTheWrongPages", "a row of another sequence is read", With<PassingTheWrongPages>()},
      {"FailsAllWhenMemoryRunsOut", "without reason: INTERNAL",
       With<FailingAllWhenMemoryRunsOut>()},
      {"GoesOnAfterAFailure", "a failed request goes on", With<GoingOnAfterAFailure>()},
      {"EncodesTwice", "an image is encoded twice in a step", With<EncodingTwice>()},
  };
}

}  // namespace llavamini
