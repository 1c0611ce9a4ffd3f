#include "model/text/prompt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/text/utf8.h"

namespace llavamini {
namespace {

constexpr std::string_view kSystemText =
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language.";

std::string_view RoleName(Speaker speaker) {
  switch (speaker) {
    case Speaker::kSystem:
      return "system";
    case Speaker::kUser:
      return "user";
    case Speaker::kAssistant:
      return "assistant";
  }
  return {};
}

// The texts before, between and after a turn's media, stripped at the outer ends.
std::vector<std::string> TextsAroundMedia(const std::vector<PromptPart>& parts) {
  std::vector<std::string> texts(1);
  for (const PromptPart& part : parts) {
    if (part.is_media) {
      texts.emplace_back("\n");
    } else {
      texts.back() += part.text;
    }
  }
  texts.front() = StripLeadingWhiteSpace(texts.front());
  texts.back() = StripTrailingWhiteSpace(texts.back());
  return texts;
}

void Append(const std::vector<TokenId>& more, std::vector<TokenId>* ids) {
  ids->insert(ids->end(), more.begin(), more.end());
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Create(const Tokenizer& tokenizer) {
  ChatTemplate chat(tokenizer);
  struct Needed {
    std::string_view token;
    TokenId* id;
  };
  for (const Needed& needed :
       {Needed{"<|begin_of_text|>", &chat.begin_of_text_},
        Needed{"<|start_header_id|>", &chat.start_header_},
        Needed{"<|end_header_id|>", &chat.end_header_}, Needed{"<|eot_id|>", &chat.end_of_turn_}}) {
    const std::optional<TokenId> id = tokenizer.SpecialId(needed.token);
    if (!id) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: added_tokens has no ",
                                                     std::string(needed.token),
                                                     ", which the chat format needs"));
    }
    *needed.id = *id;
  }
  return chat;
}

std::vector<TokenId> ChatTemplate::Render(const std::vector<PromptTurn>& turns) const {
  std::vector<TokenId> ids = {begin_of_text_, begin_of_text_};
  const auto open_header = [&](Speaker speaker) {
    ids.push_back(start_header_);
    Append(tokenizer_->Encode(RoleName(speaker)), &ids);
    ids.push_back(end_header_);
  };
  const auto add_turn = [&](const PromptTurn& turn) {
    open_header(turn.speaker);
    const std::vector<std::string> texts = TextsAroundMedia(turn.parts);
    Append(tokenizer_->Encode("\n\n" + texts.front()), &ids);
    for (size_t i = 1; i < texts.size(); ++i) {
      ids.push_back(kImagePlaceholder);
      Append(tokenizer_->Encode(texts[i]), &ids);
    }
    ids.push_back(end_of_turn_);
  };
  const bool has_system_turn = std::any_of(turns.begin(), turns.end(), [](const PromptTurn& turn) {
    return turn.speaker == Speaker::kSystem;
  });
  if (!has_system_turn) add_turn({Speaker::kSystem, {{false, std::string(kSystemText)}}});
  for (const PromptTurn& turn : turns) add_turn(turn);
  open_header(Speaker::kAssistant);
  Append(tokenizer_->Encode("\n\n"), &ids);
  return ids;
}

}  // namespace llavamini
