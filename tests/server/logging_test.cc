#include "server/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace llavamini {
namespace {

constexpr char kNasty[] = "a \"quoted\" \\ line\nand {\"event\":1}\x01\x7f \xff end";

TEST(Logging, KeepsARecordInOneLineWhateverItHolds) {
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    const std::string line = FormatLogLine("T", "info", "server", kNasty, format);
    for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line;
  }
}

TEST(Logging, WritesValidJson) {
  const auto parsed =
      nlohmann::json::parse(FormatLogLine("T", "warning", "server", kNasty, LogFormat::kJson));
  EXPECT_EQ(parsed["time"], "T");
  EXPECT_EQ(parsed["level"], "warning");
  EXPECT_THAT(parsed["message"].get<std::string>(), testing::StartsWith("a \"quoted\" \\ line\n"));
  EXPECT_FALSE(parsed.contains("event"));
}

TEST(Logging, PutsTheMembersOfARequestIntoTheRecord) {
  RequestRecord record;
  record.method = "Chat";
  record.id = "a\"b";
  record.status = "OK";
  const auto parsed = nlohmann::json::parse(FormatLogLine(
      "T", "info", kRequestLogger, FormatRequest(record, LogFormat::kJson), LogFormat::kJson));
  EXPECT_EQ(parsed["event"], "request");
  EXPECT_EQ(parsed["id"], "a\"b");
}

}  // namespace
}  // namespace llavamini
