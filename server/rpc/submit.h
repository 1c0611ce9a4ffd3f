// A gRPC chat request on its way into the backend. Called on gRPC's threads.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "llavamini/v1/chat.pb.h"
#include "server/prepare/chat_call.h"
#include "server/rpc/call.h"

namespace llavamini {

// Takes the content out of a request that gRPC would otherwise keep until the end of the call:
// uploaded files are freed as soon as they are decoded. gRPC made the message for this handler
// alone.
std::shared_ptr<const v1::ChatRequest> TakeRequest(const v1::ChatRequest* request);

absl::Time DeadlineOf(const grpc::CallbackServerContext& context);

// The plain call, with the request's name and deadline filled in.
ChatCall MakeChatCall(const Call& call, std::shared_ptr<const v1::ChatRequest> request,
                      absl::Time deadline);

// As ChatBackend::Submit; UNAVAILABLE while loading.
absl::Status SubmitCall(const Call& call, std::shared_ptr<const v1::ChatRequest> request,
                        absl::Time deadline, std::shared_ptr<AnswerSink> sink);

}  // namespace llavamini
