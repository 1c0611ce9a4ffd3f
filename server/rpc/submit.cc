#include "server/rpc/submit.h"

#include <chrono>
#include <utility>

#include "server/prepare/errors.h"
#include "server/rpc/convert.h"

namespace llavamini {

std::shared_ptr<const v1::ChatRequest> TakeRequest(const v1::ChatRequest* request) {
  auto taken = std::make_shared<v1::ChatRequest>();
  const_cast<v1::ChatRequest*>(request)->Swap(taken.get());
  return taken;
}

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

ChatCall MakeChatCall(const Call& call, std::shared_ptr<const v1::ChatRequest> request,
                      absl::Time deadline) {
  ChatCall plain = ToChatCall(std::move(request));
  if (plain.request_id.empty()) plain.request_id = call.id();
  plain.deadline = deadline;
  return plain;
}

absl::Status SubmitCall(const Call& call, std::shared_ptr<const v1::ChatRequest> request,
                        absl::Time deadline, std::shared_ptr<AnswerSink> sink) {
  if (call.serving() == nullptr) return Loading();
  return call.serving()->backend->Submit(MakeChatCall(call, std::move(request), deadline),
                                         std::move(sink), call.cancelled());
}

}  // namespace llavamini
