// llavamini-fp8-effect: what quantization fp8 changes in a model's answers. A checkpoint answers
// fixed questions, about nothing and about a drawn picture, with its weights as they are and in
// e4m3; compared are the log probabilities of the tokens, for as long as both have said the same.
//   llavamini-fp8-effect --model DIR [--vision-tower DIR] [--json FILE]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/image/picture.h"
#include "model/llava_mini.h"
#include "model/text/prompt.h"
#include "model/text/tokenizer.h"
#include "tests/performance/checked.h"

namespace llavamini {
namespace {

constexpr int kMostTokens = 48;  // of an answer
constexpr int kTop = 20;         // log probabilities per token
constexpr int32_t kPages = 64;

constexpr const char* kAboutNothing[] = {"Hello, who are you?", "What can you do?",
                                         "Tell me about the sea.", "How many legs has a spider?",
                                         "Thank you, that was helpful."};
constexpr const char* kAboutThePicture[] = {"Can you describe the picture?",
                                            "How many shapes are there?",
                                            "What colour is the square?",
                                            "Where is the circle?",
                                            "Is there a green shape in the image?",
                                            "What is the background's colour?",
                                            "Which is larger, the circle or the square?"};

using Answer = std::vector<SampledToken>;

// A red square at the top left and a blue circle at the bottom right, on grey.
Picture DrawPicture() {
  constexpr int kSide = 336;
  Picture picture{kSide, kSide, {}};
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      const bool square = x >= 40 && x < 130 && y >= 40 && y < 130;
      const bool circle = (x - 245) * (x - 245) + (y - 245) * (y - 245) < 60 * 60;
      const int red = square ? 220 : circle ? 30 : 150, blue = circle ? 220 : square ? 30 : 150;
      for (const int value : {red, square || circle ? 30 : 150, blue}) {
        picture.rgb.push_back(static_cast<uint8_t>(value));
      }
    }
  }
  return picture;
}

struct Questions {
  std::vector<std::vector<TokenId>> prompts;
  ImageInput picture;  // of those with kImagePlaceholder
  TokenId end = 0;     // of an answer
};

Questions MakeQuestions(const LoadOptions& options, const ModelConfig& config) {
  const auto tokenizer =
      Checked(Tokenizer::Load(options.folder / "tokenizer.json", config.vocab_size));
  const ChatTemplate chat = Checked(ChatTemplate::Create(*tokenizer));
  Questions questions;
  for (const char* text : kAboutNothing) {
    questions.prompts.push_back(chat.Render({{Speaker::kUser, {{false, text}}}}));
  }
  for (const char* text : kAboutThePicture) {
    questions.prompts.push_back(chat.Render({{Speaker::kUser, {{true, ""}, {false, text}}}}));
  }
  ImageInputOptions image;
  image.side = static_cast<int>(config.vision.image_size);
  questions.picture = MakeImageInput(DrawPicture(), image);
  questions.end = tokenizer->SpecialId("<|eot_id|>").value_or(-1);
  return questions;
}

Answer Ask(Model& model, const std::vector<TokenId>& prompt, const EncodedImagePtr& picture,
           TokenId end) {
  SamplingParams greedy;
  greedy.logprobs = true;
  greedy.top_logprobs = kTop;
  std::vector<int32_t> pages(kPages);
  for (int32_t page = 0; page < kPages; ++page) pages[page] = page;
  const bool with_picture = std::count(prompt.begin(), prompt.end(), kImagePlaceholder) > 0;
  std::unique_ptr<FusedPrompt> fused;
  if (with_picture) {
    fused = Checked(model.BeginFusion(prompt, 1));
    Checked(model.Fuse({{fused.get(), {&picture, 1}}}));
  }
  Checked(model.Launch({{prompt, fused.get(), pages, 0, &greedy}}, {}));
  Answer answer = Checked(model.Collect());
  std::vector<TokenId> said;
  const auto length = static_cast<int32_t>(
      PromptLength(prompt.size(), with_picture ? 1 : 0, model.facts().tokens_per_image));
  while (answer.back().token.id != end && answer.size() < kMostTokens) {
    said.push_back(answer.back().token.id);
    const auto count = static_cast<int32_t>(said.size());
    Checked(model.Launch({}, {{0, length + count - 1, count, &greedy, prompt, said}}));
    answer.push_back(Checked(model.Collect())[0]);
  }
  return answer;
}

// Answers to all questions by a model of its own, which is gone afterwards.
std::vector<Answer> AskAll(const LoadOptions& options, const ModelConfig& config,
                           const Questions& questions, nlohmann::json& facts) {
  const std::unique_ptr<Model> model = Checked(LoadLlavaMini(options, config));
  facts["device"] = model->facts().device;
  facts["dtype"] = model->facts().dtype;
  const bool fp8 = options.quantization == Quantization::kFp8;
  facts[fp8 ? "weight_bytes_fp8" : "weight_bytes"] = model->facts().memory.weights;
  const ImageInput* view = &questions.picture;
  const auto encoding = Checked(model->BeginEncoding({&view, 1}));
  while (encoding->pieces_left() > 0) Checked(encoding->RunPiece());
  const EncodedImagePtr picture = encoding->images()[0];
  std::vector<Answer> answers;
  for (const auto& prompt : questions.prompts) {
    answers.push_back(Ask(*model, prompt, picture, questions.end));
  }
  return answers;
}

nlohmann::json Summary(const std::vector<double>& differences) {
  double sum = 0, most = 0;
  for (const double difference : differences) {
    sum += difference;
    most = std::max(most, difference);
  }
  const size_t count = std::max<size_t>(differences.size(), 1);
  return {{"count", differences.size()}, {"mean", sum / static_cast<double>(count)}, {"max", most}};
}

// |log probability - that of e4m3|: of the tokens chosen with the weights as they are, and of all
// that are among the best of both.
nlohmann::json Compare(const std::vector<Answer>& exact, const std::vector<Answer>& fp8) {
  std::vector<double> chosen, best;
  int same = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const size_t both = std::min(exact[i].size(), fp8[i].size());
    size_t at = 0;
    for (bool alike = true; at < both && alike; ++at) {
      std::map<TokenId, float> others;
      for (const TokenLogprob& token : fp8[i][at].top) others[token.id] = token.logprob;
      for (const TokenLogprob& token : exact[i][at].top) {
        const auto other = others.find(token.id);
        if (other == others.end()) continue;
        const double difference = std::abs(double{token.logprob} - other->second);
        best.push_back(difference);
        if (token.id == exact[i][at].token.id) chosen.push_back(difference);
      }
      alike = exact[i][at].token.id == fp8[i][at].token.id;
      if (alike && at + 1 == both && exact[i].size() == fp8[i].size()) ++same;
    }
  }
  return {{"answers", exact.size()},
          {"same_answers", same},
          {"chosen_tokens", Summary(chosen)},
          {absl::StrCat("best_", kTop, "_tokens"), Summary(best)}};
}

int Run(const std::vector<std::string>& arguments) {
  LoadOptions options;
  std::string json_file;
  for (size_t i = 0; i + 1 < arguments.size(); i += 2) {
    if (arguments[i] == "--model") {
      options.folder = arguments[i + 1];
    } else if (arguments[i] == "--vision-tower") {
      options.vision_tower = arguments[i + 1];
    } else if (arguments[i] == "--json") {
      json_file = arguments[i + 1];
    } else {
      std::fprintf(stderr, "llavamini-fp8-effect: unknown argument %s\n", arguments[i].c_str());
      return 64;
    }
  }
  options.device = DeviceKind::kCuda;
  options.max_running = 1;
  options.max_context_tokens = kPages * kPageTokens;
  options.kv_pages = kPages;
  options.max_images_per_batch = 1;
  const ModelConfig config = Checked(LoadModelConfig(options.folder));
  const Questions questions = MakeQuestions(options, config);
  nlohmann::json facts;
  const std::vector<Answer> exact = AskAll(options, config, questions, facts);
  options.quantization = Quantization::kFp8;
  const std::vector<Answer> fp8 = AskAll(options, config, questions, facts);
  facts.update(Compare(exact, fp8));
  std::cout << facts.dump(1) << "\n";
  if (!json_file.empty()) std::ofstream(json_file) << facts.dump(1) << "\n";
  return 0;
}

}  // namespace
}  // namespace llavamini

int main(int argc, char** argv) {
  return llavamini::RunMain("llavamini-fp8-effect", argc, argv, llavamini::Run);
}
