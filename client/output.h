// What the commands print about the server's messages. Pure.
#pragma once

#include <string>
#include <string_view>

#include "google/protobuf/message.h"
#include "llavamini/v1/chat.pb.h"
#include "llavamini/v1/model.pb.h"

namespace llavamini::client {

// Text that is safe for a terminal: control characters other than line feed and tab become '?'.
std::string Printable(std::string_view text);

// One line of JSON, without a line feed.
std::string ToJson(const google::protobuf::Message& message);

// Each without a line feed at the end.
std::string ModelLine(const v1::Model& model);
std::string InfoText(const v1::ServerInfo& info);
std::string CountLine(const v1::CountTokensResponse& count);
std::string TimingsText(const v1::Finished& finished);

// A token's log probability, its text, and the alternatives when there are any.
std::string LogprobLine(const v1::TokenLogprob& token);

}  // namespace llavamini::client
