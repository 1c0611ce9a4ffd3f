// The contract's messages <-> plain structs. Pure; safe from any thread.
#pragma once

#include <memory>

#include "llavamini/v1/chat.pb.h"
#include "model/text/tokenizer.h"
#include "server/engine/request.h"
#include "server/prepare/chat_call.h"

namespace llavamini {

// The call holds `request` alive and views its bytes. The deadline is the caller's to set.
ChatCall ToChatCall(std::shared_ptr<const v1::ChatRequest> request);

v1::FinishReason ToProto(FinishReason reason);
v1::Stage ToProto(Stage stage);
v1::Usage ToProto(const Usage& usage);
v1::Timings ToProto(const Timings& timings);

// Appends; the bytes of tokens come from `tokenizer`.
void AddLogprobs(const std::vector<SampledToken>& tokens, const Tokenizer& tokenizer,
                 google::protobuf::RepeatedPtrField<v1::TokenLogprob>* out);

google::protobuf::Duration ToProto(absl::Duration duration);

}  // namespace llavamini
