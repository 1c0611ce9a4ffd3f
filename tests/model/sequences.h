// Drives a model as the engine does: encodes pictures, fuses prompts, runs steps.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/llava_mini.h"
#include "tests/model/goldens.h"

namespace llavamini {

// A golden checkpoint on a device, small: few places, few pages.
struct LoadChoice {
  DeviceKind device = DeviceKind::kCpu;
  DtypeChoice dtype = DtypeChoice::kFloat32;
  bool deterministic = false;
};
inline constexpr int32_t kPlaces = 40;
inline constexpr int64_t kContext = 400;  // rows of the longest sequence
std::unique_ptr<Model> LoadModel(const Goldens& goldens, const LoadChoice& choice);

// Why there is no model on this device here; empty: there is.
std::string WhyNot(DeviceKind device);

// Pictures uint8 [T, S, side, side, 3], in batches as large as the model takes.
std::vector<EncodedImagePtr> Encode(Model& model, const at::Tensor& pictures);
std::vector<EncodedImagePtr> Encode(Model& model, absl::Span<const ImageInput> inputs);

// One prompt and what a model answered so far.
struct Sequence {
  std::vector<TokenId> prompt;
  std::unique_ptr<FusedPrompt> fused;
  SamplingParams sampling;
  Place place = 0;
  std::vector<int32_t> pages;
  int64_t rows = 0;      // of the prompt
  int64_t launched = 0;  // tokens that steps were launched for
  std::vector<SampledToken> tokens;

  std::vector<TokenId> ids() const;
};

// Fuses `group` images at a time; 0: all at once. The place's pages lie apart, the last ones first.
Sequence Begin(Model& model, std::vector<TokenId> prompt,
               const std::vector<EncodedImagePtr>& images, Place place,
               const SamplingParams& sampling, size_t group = 0);
Sequence Begin(Model& model, const Goldens& goldens, const GoldenCase& golden, Place place,
               const SamplingParams& sampling);

// One step: the first token of each of `prompts`, the next one of each of `rows`.
using Sequences = std::vector<Sequence*>;
void Launch(Model& model, const Sequences& prompts, const Sequences& rows);
void Collect(Model& model, const Sequences& prompts, const Sequences& rows);
void Step(Model& model, const Sequences& prompts, const Sequences& rows);

// Steps with this sequence alone until it has so many tokens.
void Finish(Model& model, Sequence& sequence, size_t tokens);

SamplingParams Greedy(bool logprobs);

// A golden's prompt, its text repeated until there are so many ids.
std::vector<TokenId> Repeated(const GoldenCase& golden, size_t ids);

// The same tokens, their log probabilities within the tolerance; 0: the same bits.
void ExpectSameAnswer(const Sequence& out, const Sequence& expected, double tolerance,
                      const std::string& what);

}  // namespace llavamini
