#include "client/arguments.h"

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/option_words.h"

namespace llavamini::client {
namespace {

// Which commands an option belongs to.
enum class Scope { kEvery, kQuestion, kChat };

struct Option {
  const char* name;
  const char* value;  // what it takes, as the help shows it; empty: nothing
  const char* help;
  Scope scope;
  bool (*apply)(const std::string& value, Arguments& arguments);  // false: not such a value
};

bool ParseNumber(const std::string& text, uint32_t* number) {
  return absl::SimpleAtoi(text, number);
}
bool ParseNumber(const std::string& text, uint64_t* number) {
  return absl::SimpleAtoi(text, number);
}
bool ParseNumber(const std::string& text, float* number) { return absl::SimpleAtof(text, number); }

// One numeric field of the generation parameters, by its protobuf setter.
template <typename Number, void (v1::GenerationParams::*Set)(Number)>
bool SetNumber(const std::string& value, Arguments& arguments) {
  Number number{};
  if (!ParseNumber(value, &number)) return false;
  (arguments.params.*Set)(number);
  return true;
}

bool SetTimeout(const std::string& value, Arguments& arguments) {
  double seconds = 0;
  if (!absl::SimpleAtod(value, &seconds) || !(seconds > 0)) return false;
  arguments.timeout = absl::Seconds(seconds);
  return true;
}

bool SetDetail(const std::string& value, Arguments& arguments) {
  if (value == "low") {
    arguments.detail = v1::DETAIL_LOW;
  } else if (value == "high") {
    arguments.detail = v1::DETAIL_HIGH;
  } else {
    return false;
  }
  return true;
}

template <std::string Arguments::*Field>
bool SetText(const std::string& value, Arguments& arguments) {
  arguments.*Field = value;
  return !value.empty();
}

template <bool Arguments::*Field>
bool SetFlag(const std::string&, Arguments& arguments) {
  return arguments.*Field = true;
}

template <std::vector<std::string> Arguments::*Field>
bool Append(const std::string& value, Arguments& arguments) {
  (arguments.*Field).push_back(value);
  return !value.empty();
}

using Params = v1::GenerationParams;
constexpr auto kOptions = std::to_array<Option>({
    {"--address", "HOST:PORT", "the server (or LLAVAMINI_ADDRESS; 127.0.0.1:50051)", Scope::kEvery,
     SetText<&Arguments::address>},
    {"--timeout", "SECONDS", "give up after this long", Scope::kEvery, SetTimeout},
    {"--json", "", "print the server's messages as JSON, one a line", Scope::kEvery,
     SetFlag<&Arguments::json>},
    {"--image", "FILE", "a still image (JPEG, PNG, WebP)", Scope::kQuestion,
     Append<&Arguments::images>},
    {"--frames", "FILE...", "pictures of one sequence, in time order", Scope::kQuestion,
     Append<&Arguments::frames>},
    {"--video", "FILE", "a video file", Scope::kQuestion, SetText<&Arguments::video>},
    {"--detail", "low|high", "how much of a picture's detail to use", Scope::kQuestion, SetDetail},
    {"--system", "TEXT", "instructions to the assistant", Scope::kQuestion,
     SetText<&Arguments::system>},
    {"--model", "NAME", "the served model", Scope::kQuestion, SetText<&Arguments::model>},
    {"--request-id", "TEXT", "your name for the request, for the server's log", Scope::kQuestion,
     SetText<&Arguments::request_id>},
    {"--max-tokens", "N", "most tokens to generate", Scope::kQuestion,
     SetNumber<uint32_t, &Params::set_max_tokens>},
    {"--temperature", "T", "0 is greedy decoding", Scope::kChat,
     SetNumber<float, &Params::set_temperature>},
    {"--top-p", "P", "nucleus mass, in (0, 1]", Scope::kChat, SetNumber<float, &Params::set_top_p>},
    {"--top-k", "N", "most likely tokens kept; 0 keeps all", Scope::kChat,
     SetNumber<uint32_t, &Params::set_top_k>},
    {"--min-p", "P", "least probability relative to the best, in [0, 1)", Scope::kChat,
     SetNumber<float, &Params::set_min_p>},
    {"--repetition-penalty", "X", "multiplicative; 1 is none", Scope::kChat,
     SetNumber<float, &Params::set_repetition_penalty>},
    {"--frequency-penalty", "X", "per earlier occurrence, in [-2, 2]", Scope::kChat,
     SetNumber<float, &Params::set_frequency_penalty>},
    {"--presence-penalty", "X", "once per token that occurred, in [-2, 2]", Scope::kChat,
     SetNumber<float, &Params::set_presence_penalty>},
    {"--seed", "N", "seed of the sampler", Scope::kChat, SetNumber<uint64_t, &Params::set_seed>},
    {"--stop", "TEXT", "a string that ends the answer (may be repeated)", Scope::kChat,
     [](const std::string& value, Arguments& arguments) {
       arguments.params.add_stop(value);
       return !value.empty();
     }},
    {"--ignore-eos", "", "go on past the end of the turn", Scope::kChat,
     [](const std::string&, Arguments& arguments) {
       arguments.params.set_ignore_eos(true);
       return true;
     }},
    {"--logprobs", "", "print each token's log probability after the answer", Scope::kChat,
     [](const std::string&, Arguments& arguments) {
       arguments.params.set_logprobs(true);
       return true;
     }},
    {"--timings", "", "print token counts and times after the answer", Scope::kChat,
     SetFlag<&Arguments::timings>},
});

struct CommandName {
  const char* name;
  Command command;
  const char* help;
};

constexpr auto kCommands = std::to_array<CommandName>({
    {"chat", Command::kChat, "ask QUESTION; without one, a conversation (Ctrl-D ends it)"},
    {"count", Command::kCount, "the tokens that QUESTION would use"},
    {"models", Command::kModels, "what the server serves"},
    {"info", Command::kInfo, "the server's build, device, load and limits"},
    {"health", Command::kHealth, "whether the server answers; exit code 0 when it does"},
    {"help", Command::kHelp, "this text"},
});

bool Takes(Command command, Scope scope) {
  switch (scope) {
    case Scope::kEvery:
      return true;
    case Scope::kQuestion:
      return command == Command::kChat || command == Command::kCount;
    case Scope::kChat:
      return command == Command::kChat;
  }
  return false;
}

bool IsPicture(const std::string& word) {
  const std::string lower = absl::AsciiStrToLower(word);
  for (const char* ending : {".jpg", ".jpeg", ".png", ".webp"}) {
    if (absl::EndsWith(lower, ending)) return true;
  }
  return false;
}

// Walks the words once, from left to right.
class Parser {
 public:
  Parser(absl::Span<const std::string> words, const std::string& default_address) : words_(words) {
    arguments_.address = default_address;
  }

  absl::StatusOr<Arguments> Parse() {
    while (next_ < words_.size()) {
      if (absl::Status status = TakeWord(words_[next_++]); !status.ok()) return status;
    }
    if (help_) arguments_.command = Command::kHelp;
    if (!has_command_ && !help_) return absl::InvalidArgumentError("a command is missing");
    for (const Option* option : used_) {
      if (!help_ && !Takes(arguments_.command, option->scope)) {
        return absl::InvalidArgumentError(absl::StrCat(option->name, " is not of this command"));
      }
    }
    if (arguments_.command == Command::kCount && !arguments_.question) {
      return absl::InvalidArgumentError("count needs a question");
    }
    return std::move(arguments_);
  }

 private:
  absl::Status TakeWord(const std::string& word) {
    if (!only_text_ && word == "--") {
      only_text_ = true;
      return absl::OkStatus();
    }
    if (!only_text_ && (word == "--help" || word == "-h")) {
      help_ = true;
      return absl::OkStatus();
    }
    if (!only_text_ && absl::StartsWith(word, "--")) return TakeOption(word);
    return has_command_ ? TakeQuestion(word) : TakeCommand(word);
  }

  absl::Status TakeCommand(const std::string& word) {
    for (const CommandName& command : kCommands) {
      if (word != command.name) continue;
      arguments_.command = command.command;
      has_command_ = true;
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat("unknown command '", word, "'"));
  }

  absl::Status TakeQuestion(const std::string& word) {
    if (!Takes(arguments_.command, Scope::kQuestion) || arguments_.question) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected word '", word, "' (a question goes in quotes)"));
    }
    arguments_.question = word;
    return absl::OkStatus();
  }

  absl::Status TakeOption(const std::string& word) {
    const std::string name = OptionName(word);
    const Option* option = FindOption(absl::MakeConstSpan(kOptions), name);
    if (option == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("unknown option ", name));
    }
    used_.push_back(option);
    absl::Status status = ApplyOption(*option, word, words_, &next_, arguments_);
    if (!status.ok()) return status;
    if (name == "--frames") TakeMoreFrames();
    return absl::OkStatus();
  }

  void TakeMoreFrames() {
    while (next_ < words_.size() && IsPicture(words_[next_])) {
      arguments_.frames.push_back(words_[next_++]);
    }
  }

  absl::Span<const std::string> words_;
  size_t next_ = 0;
  Arguments arguments_;
  std::vector<const Option*> used_;
  bool has_command_ = false;
  bool help_ = false;
  bool only_text_ = false;  // after "--"
};

}  // namespace

absl::StatusOr<Arguments> ParseArguments(absl::Span<const std::string> words,
                                         const std::string& default_address) {
  return Parser(words, default_address).Parse();
}

std::string HelpText() {
  std::string text =
      "llavamini COMMAND [options] [QUESTION]: asks a LLaVA-Mini server\n\nCommands\n";
  for (const CommandName& command : kCommands) {
    absl::StrAppendFormat(&text, "  %-28s %s\n", command.name, command.help);
  }
  absl::StrAppend(&text, "\nOptions\n");
  for (const Option& option : kOptions) {
    absl::StrAppendFormat(&text, "  %-28s %s\n", absl::StrCat(option.name, " ", option.value),
                          option.help);
  }
  absl::StrAppend(&text,
                  "--frames also takes the words after it that end in .jpg, .jpeg, .png or .webp.\n"
                  "A question that begins with \"--\" goes after a lone --.\n"
                  "Ctrl-C ends the answer in progress; at the prompt it ends the program.\n"
                  "\nExit codes\n"
                  "  0 answered  64 wrong command line  65 refused by the server as invalid\n"
                  "  66 a file cannot be read  69 server not available\n"
                  "  75 overloaded or out of time, try again  70 any other failure  130 Ctrl-C\n");
  return text;
}

}  // namespace llavamini::client
