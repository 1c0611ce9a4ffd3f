// The services of the contract, on gRPC's callback API: no thread per call, nothing blocks.
// Thread-safe.
#pragma once

#include "llavamini/v1/chat.grpc.pb.h"
#include "llavamini/v1/media.grpc.pb.h"
#include "llavamini/v1/model.grpc.pb.h"
#include "server/rpc/call.h"

namespace llavamini {

// Largest message in either direction.
inline constexpr int kMaxMessageBytes = 64 << 20;

// Chat, StreamChat and CountTokens; LiveChat is not served.
class ChatServiceImpl final : public v1::ChatService::CallbackService {
 public:
  explicit ChatServiceImpl(RpcShared* shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* Chat(grpc::CallbackServerContext* context,
                                 const v1::ChatRequest* request,
                                 v1::ChatResponse* response) override;
  grpc::ServerWriteReactor<v1::ChatEvent>* StreamChat(grpc::CallbackServerContext* context,
                                                      const v1::ChatRequest* request) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context,
                                        const v1::ChatRequest* request,
                                        v1::CountTokensResponse* response) override;
  grpc::ServerBidiReactor<v1::LiveChatRequest, v1::LiveChatEvent>* LiveChat(
      grpc::CallbackServerContext* context) override;

 private:
  RpcShared* const shared_;
};

// Both calls say UNAVAILABLE while the model loads.
class ModelServiceImpl final : public v1::ModelService::CallbackService {
 public:
  explicit ModelServiceImpl(RpcShared* shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;

 private:
  RpcShared* const shared_;
};

// Not served: every call says so.
class MediaServiceImpl final : public v1::MediaService::CallbackService {
 public:
  grpc::ServerReadReactor<v1::UploadMediaRequest>* UploadMedia(grpc::CallbackServerContext* context,
                                                               v1::Media* response) override;
  grpc::ServerUnaryReactor* GetMedia(grpc::CallbackServerContext* context,
                                     const v1::GetMediaRequest* request,
                                     v1::Media* response) override;
  grpc::ServerUnaryReactor* DeleteMedia(grpc::CallbackServerContext* context,
                                        const v1::DeleteMediaRequest* request,
                                        v1::DeleteMediaResponse* response) override;
};

}  // namespace llavamini
