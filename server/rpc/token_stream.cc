#include "server/rpc/token_stream.h"

#include <utility>

#include "server/prepare/errors.h"
#include "server/rpc/submit.h"

namespace llavamini {
namespace {

v1::Started MakeStarted(const Call& call) {
  v1::Started started;
  started.set_request_id(call.id());
  if (call.serving() != nullptr) started.set_model(call.serving()->backend->model().name);
  return started;
}

}  // namespace

TokenStream* TokenStream::Begin(RpcShared* shared, std::shared_ptr<const v1::ChatRequest> request,
                                absl::Time deadline) {
  auto stream = std::make_shared<TokenStream>(shared, *request);
  stream->self_ = stream;
  const absl::Status status = SubmitCall(stream->call_, std::move(request), deadline, stream);
  if (!status.ok()) stream->OnFinished(stream->call_.Refused(status));
  return stream.get();
}

TokenStream::TokenStream(RpcShared* shared, const v1::ChatRequest& request)
    : call_(shared, "StreamChat", request.request_id()),
      pending_(MakeStarted(call_), request.include_progress(),
               call_.serving() == nullptr ? nullptr : call_.serving()->tokenizer) {}

void TokenStream::OnProgress(Stage stage, int64_t done, int64_t total) {
  {
    absl::MutexLock lock(&mutex_);
    if (outcome_ || too_slow_) return;
    pending_.AddProgress(stage, done, total);
  }
  Advance();
}

void TokenStream::OnDelta(Delta delta) {
  bool now_too_slow = false;
  {
    absl::MutexLock lock(&mutex_);
    if (broken_ || too_slow_) return;
    pending_.AddDelta(std::move(delta));
    if (pending_.bytes() > call_.shared()->max_pending_bytes) {
      now_too_slow = too_slow_ = true;
      pending_.Clear();
    }
  }
  if (now_too_slow) {
    call_.Cancel();
  } else {
    Advance();
  }
}

void TokenStream::OnFinished(const Outcome& outcome) {
  {
    absl::MutexLock lock(&mutex_);
    outcome_ = outcome;
    if (too_slow_) outcome_->status = SlowReader(call_.shared()->max_pending_bytes);
    if (outcome_->status.ok()) pending_.AddFinished(outcome);
  }
  Advance();
}

void TokenStream::Advance() {
  std::optional<Outcome> outcome;
  {
    absl::MutexLock lock(&mutex_);
    if (writing_ || finishing_) return;
    if (!broken_ && pending_.TakeNext(&event_)) {
      writing_ = true;
      StartWrite(&event_);
      return;
    }
    if (!outcome_) return;
    finishing_ = true;
    outcome = outcome_;
  }
  // Without the lock: OnDone may follow at once.
  Finish(call_.Conclude(*outcome));
}

void TokenStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) broken_ = true;
  }
  if (!ok) call_.Cancel();
  Advance();
}

void TokenStream::OnCancel() { call_.Cancel(); }

void TokenStream::OnDone() { const std::shared_ptr<TokenStream> last = std::move(self_); }

}  // namespace llavamini
