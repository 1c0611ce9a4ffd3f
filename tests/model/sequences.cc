#include "tests/model/sequences.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "model/device.h"

namespace llavamini {
namespace {

constexpr int32_t kPagesOfPlace = kContext / kPageTokens;

// Nothing that follows would mean anything: ends the test.
void Check(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

}  // namespace

std::unique_ptr<Model> LoadModel(const Goldens& goldens, const LoadChoice& choice) {
  LoadOptions options;
  options.folder = goldens.folder;
  options.vision_tower = goldens.vision_tower;
  options.device = choice.device;
  options.dtype = choice.dtype;
  options.deterministic = choice.deterministic;
  options.max_running = kPlaces;
  options.max_context_tokens = kContext;
  options.max_images_per_batch = 4;
  options.max_step_rows = 320;
  options.kv_pages = kPlaces * kPagesOfPlace;
  options.threads = 1;  // tiny tensors: more threads only wait for each other
  return LoadLlavaMini(options, LoadModelConfig(goldens.folder).value()).value();
}

std::string WhyNot(DeviceKind device) {
  LoadOptions options;
  options.device = device;
  return std::string(ChoosePlacement(options).status().message());
}

std::vector<EncodedImagePtr> Encode(Model& model, absl::Span<const ImageInput> inputs) {
  std::vector<EncodedImagePtr> images;
  const auto most = static_cast<size_t>(model.facts().max_images);
  for (size_t first = 0; first < inputs.size(); first += most) {
    std::vector<const ImageInput*> views;
    for (const ImageInput& input : inputs.subspan(first, most)) views.push_back(&input);
    const auto encoding = model.BeginEncoding(views).value();
    EXPECT_GT(encoding->pieces_left(), 0);
    while (encoding->pieces_left() > 0) Check(encoding->RunPiece());
    const auto made = encoding->images();
    EXPECT_EQ(made.size(), views.size());
    images.insert(images.end(), made.begin(), made.end());
  }
  return images;
}

std::vector<EncodedImagePtr> Encode(Model& model, const at::Tensor& pictures) {
  return Encode(model, ImagesOf(pictures));
}

std::vector<TokenId> Sequence::ids() const {
  std::vector<TokenId> ids;
  for (const SampledToken& token : tokens) ids.push_back(token.token.id);
  return ids;
}

Sequence Begin(Model& model, std::vector<TokenId> prompt,
               const std::vector<EncodedImagePtr>& images, Place place,
               const SamplingParams& sampling, size_t group) {
  Sequence sequence;
  sequence.prompt = std::move(prompt);
  sequence.sampling = sampling;
  sequence.place = place;
  for (int32_t page = kPagesOfPlace - 1; page >= 0; --page) {
    sequence.pages.push_back(page * kPlaces + place);
  }
  sequence.rows =
      PromptLength(sequence.prompt.size(), images.size(), model.facts().tokens_per_image);
  if (images.empty()) return sequence;
  sequence.fused = model.BeginFusion(sequence.prompt, static_cast<int64_t>(images.size())).value();
  const absl::Span<const EncodedImagePtr> all(images);
  const size_t step = group == 0 ? images.size() : group;
  for (size_t first = 0; first < images.size(); first += step) {
    Check(model.Fuse({{sequence.fused.get(), all.subspan(first, step)}}));
  }
  return sequence;
}

Sequence Begin(Model& model, const Goldens& goldens, const GoldenCase& golden, Place place,
               const SamplingParams& sampling) {
  std::vector<EncodedImagePtr> images;
  if (golden.frames > 0) images = Encode(model, goldens.Get(golden, "pictures"));
  return Begin(model, golden.ids, images, place, sampling);
}

void Launch(Model& model, const Sequences& prompts, const Sequences& rows) {
  std::vector<PromptRow> prompt_rows;
  for (Sequence* sequence : prompts) {
    prompt_rows.push_back({sequence->prompt, sequence->fused.get(), sequence->pages,
                           sequence->place, &sequence->sampling});
    sequence->launched = 1;
  }
  std::vector<DecodeRow> decode_rows;
  std::vector<std::vector<TokenId>> answers;
  for (Sequence* sequence : rows) answers.push_back(sequence->ids());
  for (size_t i = 0; i < rows.size(); ++i) {
    Sequence& sequence = *rows[i];
    const auto position = static_cast<int32_t>(sequence.rows + sequence.launched - 1);
    decode_rows.push_back({sequence.place, position, sequence.launched++, &sequence.sampling,
                           sequence.prompt, answers[i]});
  }
  Check(model.Launch(prompt_rows, decode_rows));
}

void Collect(Model& model, const Sequences& prompts, const Sequences& rows) {
  const std::vector<SampledToken> tokens = model.Collect().value();
  Check(tokens.size() == prompts.size() + rows.size() ? absl::OkStatus()
                                                      : absl::InternalError("tokens of a step"));
  for (size_t i = 0; i < tokens.size(); ++i) {
    Sequence* sequence = i < prompts.size() ? prompts[i] : rows[i - prompts.size()];
    sequence->tokens.push_back(tokens[i]);
  }
}

void Step(Model& model, const Sequences& prompts, const Sequences& rows) {
  Launch(model, prompts, rows);
  Collect(model, prompts, rows);
}

void Finish(Model& model, Sequence& sequence, size_t tokens) {
  if (sequence.tokens.empty()) Step(model, {&sequence}, {});
  while (sequence.tokens.size() < tokens) {
    Step(model, {}, {&sequence});
  }
}

SamplingParams Greedy(bool logprobs) {
  SamplingParams sampling;
  sampling.logprobs = logprobs;
  return sampling;
}

std::vector<TokenId> Repeated(const GoldenCase& golden, size_t ids) {
  std::vector<TokenId> prompt = golden.ids;
  while (prompt.size() < ids) {
    const TokenId id = golden.ids[prompt.size() % golden.ids.size()];
    prompt.push_back(id > 0 ? id : golden.ids[0]);  // one image stands in it once
  }
  return prompt;
}

void ExpectSameAnswer(const Sequence& out, const Sequence& expected, double tolerance,
                      const std::string& what) {
  ASSERT_EQ(out.ids(), expected.ids()) << what;
  for (size_t i = 0; i < out.tokens.size(); ++i) {
    ASSERT_NEAR(out.tokens[i].token.logprob, expected.tokens[i].token.logprob, tolerance)
        << what << ", token " << i;
  }
}

}  // namespace llavamini
