// A conversation as the ids of the LLaMA-3 chat format (conversation llava_llama_3_1). Pure; safe
// from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/text/tokenizer.h"

namespace llavamini {

enum class Speaker { kSystem, kUser, kAssistant };

// One part of a turn: text, or the place of a picture or video.
struct PromptPart {
  bool is_media = false;
  std::string text;  // when !is_media
};

struct PromptTurn {
  Speaker speaker = Speaker::kUser;
  std::vector<PromptPart> parts;
};

// The special tokens that the chat format needs, looked up once.
class ChatTemplate {
 public:
  // Refuses a tokenizer that lacks one of them, by name.
  static absl::StatusOr<ChatTemplate> Create(const Tokenizer& tokenizer);

  // Ids of the whole conversation, up to and with the opened assistant header; begins with two
  // <|begin_of_text|>, as the published inference path does. A media part becomes
  // kImagePlaceholder, with "\n" after it when something follows in the turn. Each turn's text is
  // stripped of outer white space. Without a system turn the model's own system text is used.
  std::vector<TokenId> Render(const std::vector<PromptTurn>& turns) const;

 private:
  explicit ChatTemplate(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  const Tokenizer* tokenizer_;
  TokenId begin_of_text_ = 0, start_header_ = 0, end_header_ = 0, end_of_turn_ = 0;
};

}  // namespace llavamini
