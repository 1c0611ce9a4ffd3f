#include "server/rpc/convert.h"

#include <string>
#include <utility>

namespace llavamini {
namespace {

Role ToRole(v1::Role role) {
  switch (role) {
    case v1::ROLE_UNSPECIFIED:
      return Role::kUnspecified;
    case v1::ROLE_SYSTEM:
      return Role::kSystem;
    case v1::ROLE_USER:
      return Role::kUser;
    case v1::ROLE_ASSISTANT:
      return Role::kAssistant;
    default:
      return Role::kUnknown;
  }
}

Detail ToDetail(v1::Detail detail) {
  switch (detail) {
    case v1::DETAIL_UNSPECIFIED:
      return Detail::kUnspecified;
    case v1::DETAIL_LOW:
      return Detail::kLow;
    case v1::DETAIL_HIGH:
      return Detail::kHigh;
    default:
      return Detail::kUnknown;
  }
}

MediaSource ToSource(const v1::MediaSource& source) {
  switch (source.source_case()) {
    case v1::MediaSource::kData:
      return {MediaSource::Kind::kData, source.data()};
    case v1::MediaSource::kMediaId:
      return {MediaSource::Kind::kMediaId, {}};
    case v1::MediaSource::SOURCE_NOT_SET:
      break;
  }
  return {};
}

double ToSeconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

FrameSampling ToSampling(const v1::FrameSampling& sampling) {
  FrameSampling plain;
  if (sampling.has_fps()) plain.fps = sampling.fps();
  if (sampling.has_num_frames()) plain.num_frames = sampling.num_frames();
  if (sampling.has_max_frames()) plain.max_frames = sampling.max_frames();
  plain.start_seconds = ToSeconds(sampling.start());
  if (sampling.has_end()) plain.end_seconds = ToSeconds(sampling.end());
  return plain;
}

ContentPart ToPart(const v1::ContentPart& part) {
  switch (part.part_case()) {
    case v1::ContentPart::kText:
      return TextPart{part.text()};
    case v1::ContentPart::kImage:
      return ImagePart{ToSource(part.image().source()), ToDetail(part.image().detail())};
    case v1::ContentPart::kVideo:
      return VideoPart{ToSource(part.video().source()), ToDetail(part.video().detail()),
                       ToSampling(part.video().sampling())};
    case v1::ContentPart::kFrames: {
      FramesPart frames;
      frames.detail = ToDetail(part.frames().detail());
      for (const v1::Frame& frame : part.frames().frames()) {
        frames.frames.push_back(ToSource(frame.source()));
      }
      return frames;
    }
    case v1::ContentPart::PART_NOT_SET:
      break;
  }
  return std::monostate();
}

ChatParams ToParams(const v1::GenerationParams& params) {
  ChatParams plain;
  if (params.has_max_tokens()) plain.max_tokens = params.max_tokens();
  if (params.has_temperature()) plain.temperature = params.temperature();
  if (params.has_top_p()) plain.top_p = params.top_p();
  if (params.has_top_k()) plain.top_k = params.top_k();
  if (params.has_min_p()) plain.min_p = params.min_p();
  if (params.has_repetition_penalty()) plain.repetition_penalty = params.repetition_penalty();
  if (params.has_frequency_penalty()) plain.frequency_penalty = params.frequency_penalty();
  if (params.has_presence_penalty()) plain.presence_penalty = params.presence_penalty();
  if (params.has_seed()) plain.seed = params.seed();
  plain.stop.assign(params.stop().begin(), params.stop().end());
  plain.ignore_eos = params.ignore_eos();
  plain.logprobs = params.logprobs();
  plain.top_logprobs = params.top_logprobs();
  return plain;
}

void SetLogprob(const TokenLogprob& token, const Tokenizer& tokenizer, v1::TokenLogprob* out) {
  const std::string_view bytes = tokenizer.Bytes(token.id);
  out->set_token_id(static_cast<uint32_t>(token.id));
  out->set_token(bytes.data(), bytes.size());
  out->set_logprob(token.logprob);
}

}  // namespace

ChatCall ToChatCall(std::shared_ptr<const v1::ChatRequest> request) {
  ChatCall call;
  call.model = request->model();
  for (const v1::Message& message : request->messages()) {
    ChatMessage plain;
    plain.role = ToRole(message.role());
    for (const v1::ContentPart& part : message.content()) plain.content.push_back(ToPart(part));
    call.messages.push_back(std::move(plain));
  }
  call.params = ToParams(request->params());
  call.request_id = request->request_id();
  call.include_progress = request->include_progress();
  call.storage = std::move(request);
  return call;
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kStopString:
      return v1::FINISH_REASON_STOP_STRING;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::Stage ToProto(Stage stage) {
  switch (stage) {
    case Stage::kQueued:
      return v1::STAGE_QUEUED;
    case Stage::kDecodingMedia:
      return v1::STAGE_DECODING_MEDIA;
    case Stage::kEncodingVision:
      return v1::STAGE_ENCODING_VISION;
    case Stage::kPrefill:
      return v1::STAGE_PREFILL;
  }
  return v1::STAGE_UNSPECIFIED;
}

v1::Usage ToProto(const Usage& usage) {
  v1::Usage out;
  out.set_prompt_tokens(static_cast<uint32_t>(usage.prompt_tokens));
  out.set_completion_tokens(static_cast<uint32_t>(usage.completion_tokens));
  out.set_vision_tokens(static_cast<uint32_t>(usage.vision_tokens));
  out.set_images(static_cast<uint32_t>(usage.images));
  out.set_cached_images(static_cast<uint32_t>(usage.cached_images));
  return out;
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration out;
  absl::Duration rest;
  out.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return out;
}

v1::Timings ToProto(const Timings& timings) {
  v1::Timings out;
  *out.mutable_queue() = ToProto(timings.queue);
  *out.mutable_media_decode() = ToProto(timings.media_decode);
  *out.mutable_vision_encode() = ToProto(timings.vision_encode);
  *out.mutable_prefill() = ToProto(timings.prefill);
  *out.mutable_first_token() = ToProto(timings.first_token);
  *out.mutable_total() = ToProto(timings.total);
  return out;
}

void AddLogprobs(const std::vector<SampledToken>& tokens, const Tokenizer& tokenizer,
                 google::protobuf::RepeatedPtrField<v1::TokenLogprob>* out) {
  for (const SampledToken& sampled : tokens) {
    v1::TokenLogprob* token = out->Add();
    SetLogprob(sampled.token, tokenizer, token);
    for (const TokenLogprob& other : sampled.top) {
      SetLogprob(other, tokenizer, token->add_top_logprobs());
    }
  }
}

}  // namespace llavamini
