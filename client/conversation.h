// The turns of a conversation, kept by the client and sent whole each time.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/arguments.h"
#include "llavamini/v1/chat.pb.h"

namespace llavamini::client {

class Conversation {
 public:
  // Reads the files that the arguments name; the error names the one that cannot be read.
  static absl::StatusOr<Conversation> Open(const Arguments& arguments);

  // Adds a question; the first one carries the media. The request to send is then request().
  void Ask(const std::string& question);

  // Ends the turn that Ask() began. An empty answer takes the question back: the API knows no empty
  // turn.
  void Answer(const std::string& answer);

  const v1::ChatRequest& request() const { return request_; }

 private:
  v1::ChatRequest request_;
  v1::Message media_;  // the media parts of the first question
  int opening_ = 0;    // messages before the first question: the system text or none
};

}  // namespace llavamini::client
