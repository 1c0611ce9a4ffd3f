// The command line of `llavamini` as a plain struct. Pure: reads no file and no environment.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "llavamini/v1/chat.pb.h"
#include "llavamini/v1/media.pb.h"

namespace llavamini::client {

enum class Command { kHelp, kChat, kCount, kModels, kInfo, kHealth };

struct Arguments {
  Command command = Command::kHelp;
  std::string address;
  std::optional<absl::Duration> timeout;  // of each call; absent: the command's own
  bool json = false;
  bool timings = false;

  // chat and count
  std::vector<std::string> images;  // paths, in the order given
  std::vector<std::string> frames;  // paths, in time order
  std::string video;                // path; empty: none
  v1::Detail detail = v1::DETAIL_UNSPECIFIED;
  std::string system;  // empty: the model's own system text
  std::string model;   // empty: the server's default
  std::string request_id;
  v1::GenerationParams params;
  std::optional<std::string> question;  // absent: a conversation
};

// words: without the program's name. default_address: where --address is not given.
// Ranges of generation parameters are the server's to judge. INVALID_ARGUMENT names the word that
// is wrong.
absl::StatusOr<Arguments> ParseArguments(absl::Span<const std::string> words,
                                         const std::string& default_address);

// Commands, options and exit codes.
std::string HelpText();

}  // namespace llavamini::client
