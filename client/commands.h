// What each command does: calls the server, prints, and gives the exit code. Blocking; one thread.
#pragma once

#include <grpcpp/channel.h>

#include <istream>
#include <memory>
#include <ostream>

#include "client/arguments.h"
#include "client/exit_code.h"
#include "client/interrupts.h"

namespace llavamini::client {

// Where a command reads and writes.
struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& error;
  bool in_is_terminal = false;   // a conversation then shows a prompt
  bool out_is_terminal = false;  // control characters of answers are then not printed
};

struct Session {
  Arguments arguments;
  Console console;
  std::shared_ptr<grpc::Channel> channel;
  Interrupts* interrupts;
};

// `chat`: one question, or a conversation until the end of input. A conversation goes on after a
// failed answer and ends with the last failure's exit code.
ExitCode RunChat(const Session& session);

ExitCode RunCount(const Session& session);
ExitCode RunModels(const Session& session);
ExitCode RunInfo(const Session& session);

// kExitOk when the server says SERVING, kExitUnavailable when it says anything else.
ExitCode RunHealth(const Session& session);

// Prints what ErrorText() says, and gives the exit code.
ExitCode Fail(const Session& session, const grpc::Status& status);

// Prints what is wrong with a file.
ExitCode FailFile(const Session& session, const absl::Status& status);

}  // namespace llavamini::client
