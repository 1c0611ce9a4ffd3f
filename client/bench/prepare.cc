#include "client/bench/prepare.h"

#include <grpcpp/client_context.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/bench/prompt.h"
#include "llavamini/v1/chat.grpc.pb.h"
#include "llavamini/v1/model.grpc.pb.h"

namespace llavamini::bench {
namespace {

constexpr std::chrono::seconds kCallTimeout(60);
// Rounds in which the tokens that media add may turn out to depend on the text.
constexpr int kFitRounds = 3;

grpc::Status Count(v1::ChatService::Stub& stub, const v1::ChatRequest& request, v1::Usage* usage) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  v1::CountTokensResponse response;
  grpc::Status status = stub.CountTokens(&context, request, &response);
  *usage = response.usage();
  return status;
}

// The whole request, media included. Its picture's number is one that no load uses.
grpc::Status CountWhole(v1::ChatService::Stub& stub, const Workload& workload, v1::Usage* usage) {
  constexpr uint64_t kNumber = uint64_t{1} << 40;
  v1::ChatRequest request = workload.Blank();
  workload.Fill({.number = kNumber}, &request);
  return Count(stub, request, usage);
}

grpc::Status FindQuestion(v1::ChatService::Stub& stub, const Workload& workload, int64_t tokens,
                          std::string* question) {
  grpc::Status refusal;
  const absl::StatusOr<std::string> found =
      FindPrompt(tokens, [&](const std::string& text) -> absl::StatusOr<int64_t> {
        v1::Usage usage;
        refusal = Count(stub, workload.TextOnly(text), &usage);
        if (!refusal.ok()) return absl::UnknownError(refusal.error_message());
        return usage.prompt_tokens();
      });
  if (!refusal.ok()) return refusal;
  if (!found.ok()) {
    return {grpc::StatusCode::OUT_OF_RANGE, std::string(found.status().message())};
  }
  *question = *found;
  return grpc::Status::OK;
}

// Text alone is counted while searching, because media may be tens of megabytes; what they add is
// counted once and checked in the end.
grpc::Status FitQuestion(v1::ChatService::Stub& stub, int64_t tokens, Workload* workload,
                         v1::Usage* usage) {
  v1::Usage text_usage;
  grpc::Status status = Count(stub, workload->TextOnly(workload->question()), &text_usage);
  if (!status.ok()) return status;
  int64_t media_tokens = int64_t{usage->prompt_tokens()} - text_usage.prompt_tokens();
  for (int round = 0; round < kFitRounds; ++round) {
    std::string question;
    status = FindQuestion(stub, *workload, tokens - media_tokens, &question);
    if (status.error_code() == grpc::StatusCode::OUT_OF_RANGE && media_tokens != 0) {
      return {status.error_code(),
              absl::StrCat(status.error_message(), "; the media add ", media_tokens)};
    }
    if (!status.ok()) return status;
    workload->SetQuestion(question);
    status = CountWhole(stub, *workload, usage);
    if (!status.ok() || usage->prompt_tokens() == tokens) return status;
    media_tokens += int64_t{usage->prompt_tokens()} - tokens;
  }
  return {grpc::StatusCode::OUT_OF_RANGE,
          absl::StrCat("no prompt of ", tokens, " tokens was found: the nearest has ",
                       usage->prompt_tokens())};
}

// The model that requests go to; with its name alone where the server does not list it.
v1::Model ChooseModel(const v1::ListModelsResponse& models, const std::string& name) {
  for (const v1::Model& model : models.models()) {
    if (name.empty() || model.name() == name) return model;
  }
  v1::Model unknown;
  unknown.set_name(name);
  return unknown;
}

}  // namespace

grpc::Status Prepare(const std::shared_ptr<grpc::Channel>& channel, const Arguments& arguments,
                     Workload* workload, RunFacts* facts) {
  const auto models = v1::ModelService::NewStub(channel);
  const auto deadline = std::chrono::system_clock::now() + kCallTimeout;
  grpc::ClientContext info_context;
  info_context.set_deadline(deadline);
  grpc::Status status = models->GetServerInfo(&info_context, {}, &facts->server);
  if (!status.ok()) return status;
  grpc::ClientContext list_context;
  list_context.set_deadline(deadline);
  v1::ListModelsResponse list;
  status = models->ListModels(&list_context, {}, &list);
  if (!status.ok()) return status;
  facts->model = ChooseModel(list, arguments.request.model);

  const auto stub = v1::ChatService::NewStub(channel);
  status = CountWhole(*stub, *workload, &facts->request);
  if (status.ok() && arguments.request.prompt_tokens) {
    status = FitQuestion(*stub, *arguments.request.prompt_tokens, workload, &facts->request);
  }
  facts->question = workload->question();
  facts->picture_bytes = workload->picture_bytes();
  return status;
}

}  // namespace llavamini::bench
