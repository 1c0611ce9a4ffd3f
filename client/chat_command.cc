// `llavamini chat`.
#include <grpcpp/client_context.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "client/commands.h"
#include "client/conversation.h"
#include "client/output.h"
#include "llavamini/v1/chat.grpc.pb.h"

namespace llavamini::client {
namespace {

// What has arrived of one answer.
struct Answer {
  std::string text;
  std::vector<v1::TokenLogprob> logprobs;
  std::optional<v1::Finished> finished;
};

void TakeEvent(const Session& session, const v1::ChatEvent& event, Answer& answer) {
  const Console& console = session.console;
  if (session.arguments.json) console.out << ToJson(event) << std::endl;
  if (event.has_delta()) {
    const v1::Delta& delta = event.delta();
    answer.text += delta.text();
    answer.logprobs.insert(answer.logprobs.end(), delta.logprobs().begin(), delta.logprobs().end());
    if (!session.arguments.json) {
      console.out << (console.out_is_terminal ? Printable(delta.text()) : delta.text())
                  << std::flush;
    }
  } else if (event.has_finished()) {
    answer.finished = event.finished();
  }
}

void PrintEnd(const Session& session, const Answer& answer) {
  const Console& console = session.console;
  if (session.arguments.json) return;
  if (!answer.text.empty() || answer.finished) console.out << std::endl;
  if (session.arguments.params.logprobs()) {
    for (const v1::TokenLogprob& token : answer.logprobs) console.out << LogprobLine(token) << "\n";
    console.out << std::flush;
  }
  if (session.arguments.timings && answer.finished) {
    console.error << TimingsText(*answer.finished) << std::endl;
  }
}

// Sends the conversation, prints the answer as it arrives and adds it to the conversation.
ExitCode AskServer(const Session& session, v1::ChatService::Stub& stub,
                   Conversation& conversation) {
  grpc::ClientContext context;
  if (session.arguments.timeout) {
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMicroseconds(*session.arguments.timeout));
  }
  const Interrupts::Scope scope(session.interrupts, &context);
  const auto reader = stub.StreamChat(&context, conversation.request());
  Answer answer;
  v1::ChatEvent event;
  while (reader->Read(&event)) TakeEvent(session, event, answer);
  const grpc::Status status = reader->Finish();
  PrintEnd(session, answer);
  if (status.ok() || scope.interrupted()) {
    conversation.Answer(answer.text);
    return status.ok() ? kExitOk : kExitInterrupted;
  }
  conversation.Answer("");
  return Fail(session, status);
}

ExitCode Converse(const Session& session, v1::ChatService::Stub& stub, Conversation& conversation) {
  const Console& console = session.console;
  ExitCode code = kExitOk;
  std::string line;
  while (true) {
    if (console.in_is_terminal) console.out << "> " << std::flush;
    if (!std::getline(console.in, line)) break;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    conversation.Ask(line);
    const ExitCode answer_code = AskServer(session, stub, conversation);
    if (answer_code != kExitOk && answer_code != kExitInterrupted) code = answer_code;
  }
  if (console.in_is_terminal) console.out << std::endl;
  return code;
}

}  // namespace

ExitCode RunChat(const Session& session) {
  absl::StatusOr<Conversation> conversation = Conversation::Open(session.arguments);
  if (!conversation.ok()) return FailFile(session, conversation.status());
  const auto stub = v1::ChatService::NewStub(session.channel);
  if (!session.arguments.question) return Converse(session, *stub, *conversation);
  conversation->Ask(*session.arguments.question);
  return AskServer(session, *stub, *conversation);
}

}  // namespace llavamini::client
