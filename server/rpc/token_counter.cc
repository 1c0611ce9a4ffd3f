#include "server/rpc/token_counter.h"

#include <utility>

#include "server/prepare/errors.h"
#include "server/rpc/convert.h"
#include "server/rpc/submit.h"

namespace llavamini {

TokenCounter* TokenCounter::Begin(RpcShared* shared, std::shared_ptr<const v1::ChatRequest> request,
                                  absl::Time deadline, v1::CountTokensResponse* response) {
  auto counter = std::make_shared<TokenCounter>(shared, *request, response);
  counter->self_ = counter;
  const Call& call = counter->call_;
  absl::Status status = Loading();
  if (call.serving() != nullptr) {
    status = call.serving()->backend->Count(
        MakeChatCall(call, std::move(request), deadline), call.cancelled(),
        [counter](absl::StatusOr<TokenCount> count) { counter->Counted(count); });
  }
  if (!status.ok()) counter->Counted(status);
  return counter.get();
}

TokenCounter::TokenCounter(RpcShared* shared, const v1::ChatRequest& request,
                           v1::CountTokensResponse* response)
    : call_(shared, "CountTokens", request.request_id()), response_(response) {}

void TokenCounter::Counted(const absl::StatusOr<TokenCount>& count) {
  Outcome outcome = call_.Refused(count.status());
  if (count.ok()) {
    outcome.usage = count->usage;
    *response_->mutable_usage() = ToProto(count->usage);
    response_->set_remaining_tokens(static_cast<uint32_t>(count->remaining_tokens));
  }
  Finish(call_.Conclude(outcome));
}

void TokenCounter::OnDone() { const std::shared_ptr<TokenCounter> last = std::move(self_); }

}  // namespace llavamini
