#include "server/rpc/services.h"

#include "absl/time/time.h"
#include "server/prepare/errors.h"
#include "server/rpc/refused_call.h"
#include "server/rpc/submit.h"
#include "server/rpc/token_counter.h"
#include "server/rpc/token_stream.h"
#include "server/rpc/whole_answer.h"

namespace llavamini {
namespace {

constexpr std::string_view kNoLiveChat = "LiveChat is not served; use StreamChat";
constexpr std::string_view kNoMedia =
    "MediaService is not served; send the file's bytes in MediaSource.data";

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context,
                                    const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status, "", ""));
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* ChatServiceImpl::Chat(grpc::CallbackServerContext* context,
                                                const v1::ChatRequest* request,
                                                v1::ChatResponse* response) {
  return WholeAnswer::Begin(shared_, TakeRequest(request), DeadlineOf(*context), response);
}

grpc::ServerWriteReactor<v1::ChatEvent>* ChatServiceImpl::StreamChat(
    grpc::CallbackServerContext* context, const v1::ChatRequest* request) {
  return TokenStream::Begin(shared_, TakeRequest(request), DeadlineOf(*context));
}

grpc::ServerUnaryReactor* ChatServiceImpl::CountTokens(grpc::CallbackServerContext* context,
                                                       const v1::ChatRequest* request,
                                                       v1::CountTokensResponse* response) {
  return TokenCounter::Begin(shared_, TakeRequest(request), DeadlineOf(*context), response);
}

grpc::ServerBidiReactor<v1::LiveChatRequest, v1::LiveChatEvent>* ChatServiceImpl::LiveChat(
    grpc::CallbackServerContext*) {
  return RefuseNotServed<grpc::ServerBidiReactor<v1::LiveChatRequest, v1::LiveChatEvent>>(
      kNoLiveChat);
}

grpc::ServerUnaryReactor* ModelServiceImpl::ListModels(grpc::CallbackServerContext* context,
                                                       const v1::ListModelsRequest*,
                                                       v1::ListModelsResponse* response) {
  const Serving* serving = shared_->serving.load(std::memory_order_acquire);
  if (serving == nullptr) return FinishNow(context, Loading());
  const ServedModel& served = serving->backend->model();
  const CallLimits& limits = serving->backend->limits();
  v1::Model* model = response->add_models();
  model->set_name(served.name);
  model->set_max_context_tokens(static_cast<uint32_t>(served.max_context_tokens));
  model->set_tokens_per_image(static_cast<uint32_t>(served.tokens_per_image));
  model->set_max_images(static_cast<uint32_t>(limits.max_images));
  model->set_max_frames(static_cast<uint32_t>(limits.max_frames));
  model->set_dtype(serving->model.dtype);
  model->set_parameters(static_cast<uint64_t>(serving->model.parameters));
  return FinishNow(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ModelServiceImpl::GetServerInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetServerInfoRequest*,
                                                          v1::ServerInfo* response) {
  const Serving* serving = shared_->serving.load(std::memory_order_acquire);
  if (serving == nullptr) return FinishNow(context, Loading());
  const EngineStats stats = serving->backend->stats();
  response->set_version(shared_->version);
  response->set_device(serving->model.device);
  response->mutable_start_time()->set_seconds(absl::ToUnixSeconds(shared_->start_time));
  response->set_running_requests(static_cast<uint32_t>(stats.running));
  response->set_waiting_requests(static_cast<uint32_t>(stats.waiting));
  response->set_max_waiting_requests(static_cast<uint32_t>(serving->max_waiting));
  response->set_kv_cache_usage(stats.kv_cache_usage);
  response->set_max_message_bytes(kMaxMessageBytes);
  response->set_max_upload_bytes(0);  // MediaService is not served
  return FinishNow(context, absl::OkStatus());
}

grpc::ServerReadReactor<v1::UploadMediaRequest>* MediaServiceImpl::UploadMedia(
    grpc::CallbackServerContext*, v1::Media*) {
  return RefuseNotServed<grpc::ServerReadReactor<v1::UploadMediaRequest>>(kNoMedia);
}

grpc::ServerUnaryReactor* MediaServiceImpl::GetMedia(grpc::CallbackServerContext*,
                                                     const v1::GetMediaRequest*, v1::Media*) {
  return RefuseNotServed<grpc::ServerUnaryReactor>(kNoMedia);
}

grpc::ServerUnaryReactor* MediaServiceImpl::DeleteMedia(grpc::CallbackServerContext*,
                                                        const v1::DeleteMediaRequest*,
                                                        v1::DeleteMediaResponse*) {
  return RefuseNotServed<grpc::ServerUnaryReactor>(kNoMedia);
}

}  // namespace llavamini
