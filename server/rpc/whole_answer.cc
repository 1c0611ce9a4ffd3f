#include "server/rpc/whole_answer.h"

#include <utility>

#include "server/rpc/convert.h"
#include "server/rpc/submit.h"

namespace llavamini {

WholeAnswer* WholeAnswer::Begin(RpcShared* shared, std::shared_ptr<const v1::ChatRequest> request,
                                absl::Time deadline, v1::ChatResponse* response) {
  auto answer = std::make_shared<WholeAnswer>(shared, *request, response);
  answer->self_ = answer;
  const absl::Status status = SubmitCall(answer->call_, std::move(request), deadline, answer);
  if (!status.ok()) answer->OnFinished(answer->call_.Refused(status));
  return answer.get();
}

WholeAnswer::WholeAnswer(RpcShared* shared, const v1::ChatRequest& request,
                         v1::ChatResponse* response)
    : call_(shared, "Chat", request.request_id()), response_(response) {}

void WholeAnswer::OnDelta(Delta delta) {
  response_->mutable_text()->append(delta.text);
  AddLogprobs(delta.logprobs, *call_.serving()->tokenizer, response_->mutable_logprobs());
}

void WholeAnswer::OnFinished(const Outcome& outcome) {
  if (outcome.status.ok()) {
    response_->set_request_id(call_.id());
    response_->set_model(call_.serving()->backend->model().name);
    response_->set_finish_reason(ToProto(outcome.reason));
    *response_->mutable_usage() = ToProto(outcome.usage);
    *response_->mutable_timings() = ToProto(outcome.timings);
  }
  Finish(call_.Conclude(outcome));
}

void WholeAnswer::OnDone() { const std::shared_ptr<WholeAnswer> last = std::move(self_); }

}  // namespace llavamini
