// The commands that are one call each.
#include "client/commands.h"

#include <grpcpp/client_context.h>

#include <chrono>

#include "client/conversation.h"
#include "client/errors.h"
#include "client/output.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "llavamini/v1/chat.grpc.pb.h"
#include "llavamini/v1/model.grpc.pb.h"

namespace llavamini::client {
namespace {

using grpc::health::v1::HealthCheckResponse;

constexpr absl::Duration kDefaultTimeout = absl::Seconds(10);

void SetDeadline(const Session& session, grpc::ClientContext& context) {
  const absl::Duration timeout = session.arguments.timeout.value_or(kDefaultTimeout);
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(timeout));
}

void Print(const Session& session, const std::string& text) {
  session.console.out << (session.console.out_is_terminal ? Printable(text) : text) << std::endl;
}

}  // namespace

ExitCode Fail(const Session& session, const grpc::Status& status) {
  session.console.error << "llavamini: " << ErrorText(status, session.arguments.address)
                        << std::endl;
  return ExitCodeOf(status);
}

ExitCode FailFile(const Session& session, const absl::Status& status) {
  session.console.error << "llavamini: " << Printable(std::string(status.message())) << std::endl;
  return kExitNoInput;
}

ExitCode RunCount(const Session& session) {
  absl::StatusOr<Conversation> conversation = Conversation::Open(session.arguments);
  if (!conversation.ok()) return FailFile(session, conversation.status());
  conversation->Ask(*session.arguments.question);
  grpc::ClientContext context;
  SetDeadline(session, context);
  v1::CountTokensResponse response;
  const grpc::Status status = v1::ChatService::NewStub(session.channel)
                                  ->CountTokens(&context, conversation->request(), &response);
  if (!status.ok()) return Fail(session, status);
  Print(session, session.arguments.json ? ToJson(response) : CountLine(response));
  return kExitOk;
}

ExitCode RunModels(const Session& session) {
  grpc::ClientContext context;
  SetDeadline(session, context);
  v1::ListModelsResponse response;
  const grpc::Status status =
      v1::ModelService::NewStub(session.channel)->ListModels(&context, {}, &response);
  if (!status.ok()) return Fail(session, status);
  if (session.arguments.json) {
    Print(session, ToJson(response));
  } else {
    for (const v1::Model& model : response.models()) Print(session, ModelLine(model));
  }
  return kExitOk;
}

ExitCode RunInfo(const Session& session) {
  grpc::ClientContext context;
  SetDeadline(session, context);
  v1::ServerInfo response;
  const grpc::Status status =
      v1::ModelService::NewStub(session.channel)->GetServerInfo(&context, {}, &response);
  if (!status.ok()) return Fail(session, status);
  Print(session, session.arguments.json ? ToJson(response) : InfoText(response));
  return kExitOk;
}

ExitCode RunHealth(const Session& session) {
  grpc::ClientContext context;
  SetDeadline(session, context);
  HealthCheckResponse response;
  const grpc::Status status =
      grpc::health::v1::Health::NewStub(session.channel)->Check(&context, {}, &response);
  if (!status.ok()) return Fail(session, status);
  Print(session, session.arguments.json
                     ? ToJson(response)
                     : HealthCheckResponse::ServingStatus_Name(response.status()));
  return response.status() == HealthCheckResponse::SERVING ? kExitOk : kExitUnavailable;
}

}  // namespace llavamini::client
