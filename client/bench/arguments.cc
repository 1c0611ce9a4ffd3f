#include "client/bench/arguments.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/bench/options.h"
#include "client/option_words.h"

namespace llavamini::bench {
namespace {

// The option that `words[*next]` names, applied with its value; *next then stands after both.
absl::Status TakeOption(absl::Span<const std::string> words, size_t* next, Draft& draft) {
  const std::string& word = words[(*next)++];
  const std::string name = OptionName(word);
  const Option* option = FindOption(Options(), name);
  if (option == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("unknown option '", name, "'"));
  }
  return ApplyOption(*option, word, words, next, draft);
}

// The rules between options.
absl::StatusOr<Arguments> Complete(Draft draft) {
  Arguments& arguments = draft.arguments;
  RequestOptions& request = arguments.request;
  const auto refuse = [](const char* text) { return absl::InvalidArgumentError(text); };
  if (!arguments.concurrency.empty() && !arguments.rates.empty()) {
    return refuse("either --concurrency or --rate");
  }
  if (arguments.max_in_flight && arguments.rates.empty()) {
    return refuse("--max-in-flight goes with --rate");
  }
  if (request.frames > 0 && !request.video.empty()) return refuse("either --frames or --video");
  if (draft.image && (request.frames > 0 || !request.video.empty())) {
    return refuse("--image goes with neither --frames nor --video");
  }
  if ((draft.share || draft.distinct) && request.media != MediaKind::kImage) {
    return refuse("--repeat-share and --distinct-images go with --image new or repeated");
  }
  if (draft.pictures_shaped &&
      (request.media == MediaKind::kNone || request.media == MediaKind::kVideo)) {
    return refuse("--image-size and --image-format go with pictures or --frames");
  }
  if (draft.prompt && request.prompt_tokens) return refuse("either --prompt or --prompt-tokens");
  if (draft.share) request.repeat_share = *draft.share;
  if (arguments.rates.empty() && arguments.concurrency.empty()) arguments.concurrency = {1};
  if (!arguments.requests && !arguments.duration) arguments.duration = absl::Seconds(10);
  return std::move(arguments);
}

}  // namespace

absl::StatusOr<Arguments> ParseArguments(absl::Span<const std::string> words,
                                         const std::string& default_address) {
  Draft draft;
  draft.arguments.address = default_address;
  for (const std::string& word : words) {
    if (word != "--help" && word != "-h") continue;
    draft.arguments.help = true;
    return std::move(draft.arguments);
  }
  for (size_t next = 0; next < words.size();) {
    if (absl::Status status = TakeOption(words, &next, draft); !status.ok()) return status;
  }
  return Complete(std::move(draft));
}

std::string HelpText() {
  std::string text = "llavamini-bench [options]: puts load on a LLaVA-Mini server and measures\n\n";
  for (const Option& option : Options()) {
    absl::StrAppendFormat(&text, "  %-27s %s\n", absl::StrCat(option.name, " ", option.value),
                          option.help);
  }
  absl::StrAppend(
      &text,
      "\nSeveral values of --concurrency or --rate are measured one after another.\n"
      "A new picture is one of a few real files of smooth random content with a number in a\n"
      "comment of the file: the server's cache, which goes by the bytes, has never seen it.\n"
      "Repeated pictures are each sent once in the warm-up.\n"
      "\nMeasures\n"
      "  window   from the first counted request's start to the last counted answer's end\n"
      "  ttft     from the request's start (open loop: from its scheduled arrival, so that "
      "waiting\n"
      "           in the client counts) to the first new text\n"
      "  itl      between arrivals of later text; the gap before a message of k tokens counts as\n"
      "           k gaps of a k-th\n"
      "  e2e      from the same start as ttft to the end of the call\n"
      "  Percentiles are by nearest rank. Only answered requests count, except as errors.\n"
      "  In a closed loop a stream that finds the server overloaded rests as long as the server\n"
      "  asks for; one that finds it not available sends nothing more.\n"
      "\nExit codes\n"
      "  0 every point was measured  64 wrong command line  65 refused by the server as invalid\n"
      "  66 a file cannot be read  69 server not available\n"
      "  75 overloaded or out of time  70 any other failure  130 Ctrl-C, after the results so far\n"
      "  A point without any answer gives the code of its first failure and ends the sweep.\n");
  return text;
}

}  // namespace llavamini::bench
