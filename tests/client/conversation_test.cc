#include "client/conversation.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/media_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llavamini::client {
namespace {

using testing::HasSubstr;

// A file that is gone when the test ends.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& bytes)
      : path_(absl::StrCat(testing::TempDir(), "llavamini-client-", getpid(), "-", ++made_)) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  static inline int made_ = 0;
  const std::string path_;
};

TEST(MediaFile, IsReadWhole) {
  std::string bytes(300'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
  const TemporaryFile file(bytes);
  const auto read = ReadMediaFile(file.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, bytes);
}

TEST(MediaFile, IsRefusedByNameWhenItCannotBeRead) {
  const auto missing = ReadMediaFile("/nowhere/cat.jpg");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/nowhere/cat.jpg"));
  EXPECT_THAT(std::string(ReadMediaFile("/tmp").status().message()),
              HasSubstr("/tmp: is a folder"));
}

TEST(MediaFile, LargerThanTheLimitIsRefusedUnread) {
  const TemporaryFile file("");
  std::filesystem::resize_file(file.path(), kMaxFileBytes);
  EXPECT_TRUE(ReadMediaFile(file.path()).ok());
  std::filesystem::resize_file(file.path(), int64_t{1} << 40);  // a hole: no reader could hold it
  const auto read = ReadMediaFile(file.path());
  EXPECT_EQ(read.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("larger than 64 MiB"));
}

TEST(MediaFile, WithoutASizeIsBoundedToo) {
  EXPECT_EQ(ReadMediaFile("/dev/zero").status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Conversation, SendsMediaWithTheFirstQuestionAndKeepsTheTurns) {
  const TemporaryFile picture("picture");
  Arguments arguments;
  arguments.images = {picture.path()};
  arguments.detail = v1::DETAIL_LOW;
  arguments.system = "Be brief.";
  arguments.model = "m";
  auto conversation = Conversation::Open(arguments);
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  conversation->Ask("What is this?");
  conversation->Answer("A cat.");
  conversation->Ask("What colour?");

  const v1::ChatRequest& request = conversation->request();
  EXPECT_EQ(request.model(), "m");
  ASSERT_EQ(request.messages_size(), 4);
  EXPECT_EQ(request.messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(request.messages(0).content(0).text(), "Be brief.");
  EXPECT_EQ(request.messages(1).role(), v1::ROLE_USER);
  ASSERT_EQ(request.messages(1).content_size(), 2);
  EXPECT_EQ(request.messages(1).content(0).image().source().data(), "picture");
  EXPECT_EQ(request.messages(1).content(0).image().detail(), v1::DETAIL_LOW);
  EXPECT_EQ(request.messages(1).content(1).text(), "What is this?");
  EXPECT_EQ(request.messages(2).role(), v1::ROLE_ASSISTANT);
  EXPECT_EQ(request.messages(2).content(0).text(), "A cat.");
  EXPECT_EQ(request.messages(3).role(), v1::ROLE_USER);
  EXPECT_EQ(request.messages(3).content_size(), 1);
}

TEST(Conversation, TakesAnUnansweredQuestionBackAndKeepsTheMediaForTheNext) {
  const TemporaryFile first("1"), second("2"), video("v");
  Arguments arguments;
  arguments.frames = {first.path(), second.path()};
  arguments.video = video.path();
  auto conversation = Conversation::Open(arguments);
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  conversation->Ask("What moves?");
  conversation->Answer("");
  EXPECT_EQ(conversation->request().messages_size(), 0);
  conversation->Ask("And now?");
  ASSERT_EQ(conversation->request().messages_size(), 1);
  const v1::Message& message = conversation->request().messages(0);
  ASSERT_EQ(message.content_size(), 3);
  ASSERT_EQ(message.content(0).frames().frames_size(), 2);
  EXPECT_EQ(message.content(0).frames().frames(1).source().data(), "2");
  EXPECT_EQ(message.content(1).video().source().data(), "v");
  EXPECT_EQ(message.content(2).text(), "And now?");
}

TEST(Conversation, DoesNotOpenWithAFileThatCannotBeRead) {
  for (auto field : {&Arguments::images, &Arguments::frames}) {
    Arguments arguments;
    arguments.*field = {"/nowhere/cat.jpg"};
    EXPECT_FALSE(Conversation::Open(arguments).ok());
  }
  Arguments arguments;
  arguments.video = "/nowhere/clip.mp4";
  EXPECT_FALSE(Conversation::Open(arguments).ok());
}

}  // namespace
}  // namespace llavamini::client
