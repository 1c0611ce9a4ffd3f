#include "server/rpc/call.h"

#include <spdlog/spdlog.h>

#include "absl/time/clock.h"
#include "server/prepare/random_bits.h"
#include "server/prepare/validate.h"
#include "server/rpc/status_mapping.h"

namespace llavamini {
namespace {

std::string_view NameOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "STOP";
    case FinishReason::kStopString:
      return "STOP_STRING";
    case FinishReason::kLength:
      return "LENGTH";
  }
  return "";
}

std::string ChooseId(const std::string& wanted) {
  return wanted.empty() || !IsValidRequestId(wanted, CallLimits()) ? RandomName() : wanted;
}

}  // namespace

void CallCounter::Begin() {
  absl::MutexLock lock(&mutex_);
  ++calls_;
}

void CallCounter::End() {
  absl::MutexLock lock(&mutex_);
  --calls_;
}

bool CallCounter::WaitNone(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto none = [](int64_t* calls) { return *calls == 0; };
  return mutex_.AwaitWithDeadline(absl::Condition(+none, &calls_), deadline);
}

Call::Call(RpcShared* shared, std::string_view method, const std::string& wanted_id)
    : shared_(shared),
      serving_(shared->serving.load(std::memory_order_acquire)),
      method_(method),
      id_(ChooseId(wanted_id)),
      start_(absl::Now()) {
  shared_->calls.Begin();
}

Call::~Call() { shared_->calls.End(); }

void Call::Cancel() {
  if (serving_ != nullptr) {
    serving_->backend->Cancel(cancelled_);
  } else {
    cancelled_->store(true, std::memory_order_relaxed);
  }
}

grpc::Status Call::Conclude(const Outcome& outcome) {
  const absl::Status& status = outcome.status;
  std::string error_id;
  if (!status.ok() && IsInternalFailure(status)) {
    error_id = RandomName();
    spdlog::error("internal failure error_id={} request_id={}: {}", error_id, id_,
                  std::string(status.message()));
  }
  const std::string reason = status.ok() ? std::string(NameOf(outcome.reason)) : ReasonOf(status);
  const grpc::Status result = ToGrpcStatus(status, id_, error_id);
  const std::string code =
      absl::StatusCodeToString(static_cast<absl::StatusCode>(result.error_code()));
  LogRequest({method_, id_, code, reason, error_id, outcome.usage, outcome.timings},
             shared_->log_format);
  return result;
}

Outcome Call::Refused(const absl::Status& status) const {
  Outcome outcome;
  outcome.status = status;
  outcome.timings.total = absl::Now() - start_;
  return outcome;
}

}  // namespace llavamini
