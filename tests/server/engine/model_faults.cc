#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "tests/server/engine/planted_faults.h"

namespace llavamini {
namespace {

// Passes every call on; a fault changes one of them.
class Forwarding : public Model {
 public:
  explicit Forwarding(Model& model) : model_(model) {}
  const ModelFacts& facts() const override { return model_.facts(); }
  absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const> images) override {
    return model_.BeginEncoding(images);
  }
  absl::StatusOr<EncodedImagePtr> MoveToHost(const EncodedImagePtr& image) override {
    return model_.MoveToHost(image);
  }
  absl::StatusOr<EncodedImagePtr> MoveToDevice(const EncodedImagePtr& image) override {
    return model_.MoveToDevice(image);
  }
  absl::StatusOr<std::unique_ptr<FusedPrompt>> BeginFusion(absl::Span<const TokenId> prompt,
                                                           int64_t images) override {
    return model_.BeginFusion(prompt, images);
  }
  absl::Status Fuse(absl::Span<const FusionRow> rows) override { return model_.Fuse(rows); }
  bool SamplesAhead(const SamplingParams& sampling) const override {
    return model_.SamplesAhead(sampling);
  }
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override {
    return model_.Launch(prompts, rows);
  }
  absl::StatusOr<std::vector<SampledToken>> Collect() override { return model_.Collect(); }
  double StepMilliseconds(int64_t rows) const override { return model_.StepMilliseconds(rows); }
  double PieceMilliseconds(int64_t images) const override {
    return model_.PieceMilliseconds(images);
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
  absl::StatusOr<std::vector<SampledToken>> Collect() override {
    auto sampled = model_.Collect();
    if (sampled.ok()) std::reverse(sampled->begin(), sampled->end());
    return sampled;
  }
};

// Gives the token of a sequence that ended meanwhile to the prompt that got its place.
class DeliveringTheSurplus : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override {
    absl::Status launched = model_.Launch(prompts, rows);
    std::vector<Place> places;
    for (const PromptRow& row : prompts) places.push_back(row.place);
    for (const DecodeRow& row : rows) places.push_back(row.place);
    if (launched.ok()) steps_.push_back({std::move(places), prompts.size()});
    return launched;
  }
  absl::StatusOr<std::vector<SampledToken>> Collect() override {
    auto sampled = model_.Collect();
    const auto [places, prompts] = std::move(steps_.front());
    steps_.pop_front();
    if (!sampled.ok()) return sampled;
    for (size_t i = 0; i < prompts; ++i) {
      const auto before = last_.find(places[i]);
      if (before != last_.end()) (*sampled)[i] = before->second;
    }
    last_.clear();
    for (size_t i = 0; i < places.size(); ++i) last_.emplace(places[i], (*sampled)[i]);
    return sampled;
  }

 private:
  std::deque<std::pair<std::vector<Place>, size_t>> steps_;  // places by row, number of prompts
  std::map<Place, SampledToken> last_;                       // of the last step collected
};

class MixingUpImages : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const> images) override {
    std::vector<const ImageInput*> changed(images.begin(), images.end());
    std::rotate(changed.begin(), changed.begin() + 1, changed.end());
    return model_.BeginEncoding(changed);
  }
};

class FusingOutOfOrder : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status Fuse(absl::Span<const FusionRow> rows) override {
    std::vector<std::vector<EncodedImagePtr>> images;
    for (const FusionRow& row : rows) images.emplace_back(row.images.rbegin(), row.images.rend());
    std::vector<FusionRow> changed(rows.begin(), rows.end());
    for (size_t i = 0; i < changed.size(); ++i) changed[i].images = images[i];
    return model_.Fuse(changed);
  }
};

class LeakingImages : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status Fuse(absl::Span<const FusionRow> rows) override {
    leaked_.push_back(rows.back().images.back());
    return model_.Fuse(rows);
  }

 private:
  std::vector<EncodedImagePtr> leaked_;
};

class BeginningBesideAnother : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const> images) override {
    auto first = model_.BeginEncoding(images);
    if (!first.ok()) return first;
    return model_.BeginEncoding(images);
  }
};

class EncodingTwice : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const> images) override {
    auto first = model_.BeginEncoding(images);
    while (first.ok() && (*first)->pieces_left() > 0) {
      if (!(*first)->RunPiece().ok()) break;
    }
    first = absl::CancelledError();
    return model_.BeginEncoding(images);
  }
};

// Takes all images' time and never gives one.
class NeverEndingAnEncoding : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const>) override {
    class Endless : public Encoding {
      int pieces_left() const override { return 1; }
      absl::Status RunPiece() override { return absl::OkStatus(); }
      std::vector<EncodedImagePtr> images() const override { return {}; }
    };
    return std::make_unique<Endless>();
  }
};

class TakingPiecesForFree : public Forwarding {
 public:
  using Forwarding::Forwarding;
  double PieceMilliseconds(int64_t) const override { return 0.01; }
  double StepMilliseconds(int64_t) const override { return 1; }
};

class MiscountingPositions : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override {
    std::vector<DecodeRow> changed(rows.begin(), rows.end());
    for (DecodeRow& row : changed) row.position += 1;
    return model_.Launch(prompts, changed);
  }
};

class CountingCollectedTokensOnly : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override {
    std::vector<DecodeRow> changed(rows.begin(), rows.end());
    for (DecodeRow& row : changed) row.token_index = static_cast<int64_t>(row.answer.size());
    return model_.Launch(prompts, changed);
  }
};

class FeedingTheWrongPlaces : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override {
    std::vector<DecodeRow> changed(rows.begin(), rows.end());
    if (changed.size() > 1) std::swap(changed[0].place, changed[1].place);
    return model_.Launch(prompts, changed);
  }
};

class FailingAllWhenMemoryRunsOut : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override {
    absl::Status launched = model_.Launch(prompts, rows);
    if (absl::IsResourceExhausted(launched)) return absl::InternalError("memory");
    return launched;
  }
};

class GoingOnAfterAFailure : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override {
    rows_.push_back(prompts.size() + rows.size());
    absl::Status launched = model_.Launch(prompts, rows);
    if (!launched.ok()) rows_.pop_back();
    return launched;
  }
  absl::StatusOr<std::vector<SampledToken>> Collect() override {
    auto sampled = model_.Collect();
    const size_t rows = rows_.front();
    rows_.pop_front();
    if (absl::IsInternal(sampled.status())) return std::vector<SampledToken>(rows);
    return sampled;
  }

 private:
  std::deque<size_t> rows_;  // of the steps in flight
};

}  // namespace

std::vector<NamedFault> ModelFaults() {
  return {
      {"MixesUpNeighbours", "other tokens than alone", With<MixingUpNeighbours>()},
      {"DeliversTheSurplus", "other tokens than alone", With<DeliveringTheSurplus>()},
      {"MixesUpImages", "other tokens than alone", With<MixingUpImages>()},
      {"FusesOutOfOrder", "other tokens than alone", With<FusingOutOfOrder>()},
      {"LeaksImages", "encoded images are left over", With<LeakingImages>()},
      {"BeginsBesideAnother", "an encoding is begun while another is under way",
       With<BeginningBesideAnother>()},
      {"EncodesTwice", "an image is encoded twice in a step", With<EncodingTwice>()},
      {"NeverEndsAnEncoding", "a request starves", With<NeverEndingAnEncoding>()},
      {"TakesPiecesForFree", "running answers are held up by images", With<TakingPiecesForFree>()},
      {"MiscountsPositions", "a position is not the number of rows written",
       With<MiscountingPositions>()},
      {"CountsCollectedTokensOnly", "an index is not the number of tokens chosen",
       With<CountingCollectedTokensOnly>()},
      {"FeedsTheWrongPlaces", "a place of another sequence is fed", With<FeedingTheWrongPlaces>()},
      {"FailsAllWhenMemoryRunsOut", "without reason: INTERNAL",
       With<FailingAllWhenMemoryRunsOut>()},
      {"GoesOnAfterAFailure", "a failed request goes on", With<GoingOnAfterAFailure>()},
  };
}

}  // namespace llavamini
