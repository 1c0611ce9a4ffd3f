#include "client/bench/workload.h"

#include <algorithm>
#include <cmath>

namespace llavamini::bench {
namespace {

// Kept apart in content, so that encoders and decoders do not see one picture only.
constexpr int kContents = 8;
// With --prompt-tokens; short, so that small numbers can be met. With --prompt the model's own
// system text stands.
constexpr const char* kSystem = "Be brief.";

void SetParams(const RequestOptions& options, v1::GenerationParams* params) {
  params->set_max_tokens(options.max_tokens);
  params->set_ignore_eos(!options.respect_eos);
  params->set_temperature(options.temperature);
  if (options.top_p) params->set_top_p(*options.top_p);
  if (options.top_k) params->set_top_k(*options.top_k);
}

// The message that the user sends: the last one.
v1::Message* Question(v1::ChatRequest* request) {
  return request->mutable_messages(request->messages_size() - 1);
}

void AddMedia(const RequestOptions& options, const std::string& video, v1::Message* question) {
  switch (options.media) {
    case MediaKind::kNone:
      return;
    case MediaKind::kImage:
      question->add_content()->mutable_image()->mutable_source();
      return;
    case MediaKind::kFrames: {
      v1::FrameSequence* sequence = question->add_content()->mutable_frames();
      for (uint32_t i = 0; i < options.frames; ++i) {
        v1::Frame* frame = sequence->add_frames();
        frame->mutable_timestamp()->set_seconds(i);
        frame->mutable_source();
      }
      return;
    }
    case MediaKind::kVideo:
      question->add_content()->mutable_video()->mutable_source()->set_data(video);
      return;
  }
}

}  // namespace

uint64_t ChoosePicture(const Turn& turn, double share, uint32_t distinct) {
  if (share > 0 && turn.warmup >= 0 && turn.warmup < int64_t{distinct}) {
    return static_cast<uint64_t>(turn.warmup);
  }
  const auto repeated_before = [share](uint64_t number) {
    return static_cast<uint64_t>(std::floor(static_cast<double>(number) * share));
  };
  const uint64_t before = repeated_before(turn.number);
  if (repeated_before(turn.number + 1) > before) return before % distinct;
  return distinct + turn.number;
}

Workload::Workload(const RequestOptions& options, uint64_t run, uint64_t seed,
                   const std::string& video)
    : options_(options), run_(run), seed_(seed) {
  if (options.media == MediaKind::kImage || options.media == MediaKind::kFrames) {
    for (int i = 0; i < kContents; ++i) {
      pictures_.push_back(
          MakePicture(options.format, options.size, seed + static_cast<uint64_t>(i)));
    }
  }
  blank_.set_model(options.model);
  SetParams(options, blank_.mutable_params());
  if (options.prompt_tokens) {
    v1::Message* system = blank_.add_messages();
    system->set_role(v1::ROLE_SYSTEM);
    system->add_content()->set_text(kSystem);
  }
  v1::Message* question = blank_.add_messages();
  question->set_role(v1::ROLE_USER);
  AddMedia(options, video, question);
  question->add_content();
  SetQuestion(options.prompt);
}

void Workload::SetQuestion(const std::string& text) {
  question_ = text;
  v1::Message* question = Question(&blank_);
  question->mutable_content(question->content_size() - 1)->set_text(text);
}

v1::ChatRequest Workload::TextOnly(const std::string& text) const {
  v1::ChatRequest request = blank_;
  v1::Message* question = Question(&request);
  question->clear_content();
  question->add_content()->set_text(text);
  return request;
}

void Workload::Fill(const Turn& turn, v1::ChatRequest* request) const {
  if (options_.temperature > 0) request->mutable_params()->set_seed(seed_ + turn.number);
  const auto write = [this](uint64_t number, std::string* bytes) {
    const StampablePicture& picture = pictures_[number % pictures_.size()];
    bytes->assign(picture.bytes);
    Stamp(picture, run_, number, bytes);
  };
  if (options_.media == MediaKind::kImage) {
    v1::Image* image = Question(request)->mutable_content(0)->mutable_image();
    write(ChoosePicture(turn, options_.repeat_share, options_.distinct_images),
          image->mutable_source()->mutable_data());
  } else if (options_.media == MediaKind::kFrames) {
    v1::FrameSequence* sequence = Question(request)->mutable_content(0)->mutable_frames();
    for (uint32_t i = 0; i < options_.frames; ++i) {
      write(turn.number * options_.frames + i,
            sequence->mutable_frames(static_cast<int>(i))->mutable_source()->mutable_data());
    }
  }
}

uint64_t Workload::WarmupRequests(uint64_t wanted) const {
  if (options_.media != MediaKind::kImage || options_.repeat_share == 0) return wanted;
  return std::max<uint64_t>(wanted, options_.distinct_images);
}

int64_t Workload::picture_bytes() const {
  int64_t sum = 0;
  for (const StampablePicture& picture : pictures_) sum += std::ssize(picture.bytes);
  return pictures_.empty() ? 0 : sum / std::ssize(pictures_);
}

}  // namespace llavamini::bench
