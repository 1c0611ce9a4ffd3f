#include "client/conversation.h"

#include <utility>

#include "client/media_file.h"

namespace llavamini::client {

absl::StatusOr<Conversation> Conversation::Open(const Arguments& arguments) {
  Conversation conversation;
  v1::ChatRequest& request = conversation.request_;
  request.set_model(arguments.model);
  request.set_request_id(arguments.request_id);
  *request.mutable_params() = arguments.params;
  if (!arguments.system.empty()) {
    v1::Message* system = request.add_messages();
    system->set_role(v1::ROLE_SYSTEM);
    system->add_content()->set_text(arguments.system);
    conversation.opening_ = 1;
  }
  for (const std::string& path : arguments.images) {
    absl::StatusOr<std::string> bytes = ReadMediaFile(path);
    if (!bytes.ok()) return bytes.status();
    v1::Image* image = conversation.media_.add_content()->mutable_image();
    image->mutable_source()->set_data(*std::move(bytes));
    image->set_detail(arguments.detail);
  }
  if (!arguments.frames.empty()) {
    v1::FrameSequence* frames = conversation.media_.add_content()->mutable_frames();
    frames->set_detail(arguments.detail);
    for (const std::string& path : arguments.frames) {
      absl::StatusOr<std::string> bytes = ReadMediaFile(path);
      if (!bytes.ok()) return bytes.status();
      frames->add_frames()->mutable_source()->set_data(*std::move(bytes));
    }
  }
  if (!arguments.video.empty()) {
    absl::StatusOr<std::string> bytes = ReadMediaFile(arguments.video);
    if (!bytes.ok()) return bytes.status();
    v1::Video* video = conversation.media_.add_content()->mutable_video();
    video->mutable_source()->set_data(*std::move(bytes));
    video->set_detail(arguments.detail);
  }
  return conversation;
}

void Conversation::Ask(const std::string& question) {
  const bool first = request_.messages_size() == opening_;
  v1::Message* message = request_.add_messages();
  if (first) *message = media_;
  message->set_role(v1::ROLE_USER);
  message->add_content()->set_text(question);
}

void Conversation::Answer(const std::string& answer) {
  if (answer.empty()) {
    request_.mutable_messages()->RemoveLast();
    return;
  }
  v1::Message* message = request_.add_messages();
  message->set_role(v1::ROLE_ASSISTANT);
  message->add_content()->set_text(answer);
}

}  // namespace llavamini::client
