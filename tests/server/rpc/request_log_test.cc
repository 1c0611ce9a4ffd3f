#include "server/rpc/request_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace llavamini {
namespace {

RequestRecord Record(std::string_view id) {
  RequestRecord record;
  record.method = "Chat";
  record.id = id;
  record.status = "OK";
  record.reason = "STOP";
  record.usage.prompt_tokens = 12;
  record.timings.total = absl::Microseconds(1500);
  return record;
}

TEST(RequestLog, WritesOneLineOfText) {
  const std::string line = FormatRequest(Record("a \"b\" c"), LogFormat::kText);
  EXPECT_THAT(line,
              testing::StartsWith(R"(request method=Chat id="a \"b\" c" status=OK reason=STOP )"));
  EXPECT_THAT(line, testing::HasSubstr(" prompt_tokens=12 "));
  EXPECT_THAT(line, testing::EndsWith(" total_ms=1.5"));
}

TEST(RequestLog, WritesTheMembersOfAnObject) {
  for (const std::string& id : {std::string("plain"), std::string("\"\\,}\n\x01\xff")}) {
    const std::string members = FormatRequest(Record(id), LogFormat::kJson);
    const nlohmann::json parsed = nlohmann::json::parse("{" + members + "}");
    EXPECT_EQ(parsed["event"], "request");
    EXPECT_EQ(parsed["prompt_tokens"], 12);
    EXPECT_EQ(parsed["total_ms"], 1.5);
    EXPECT_FALSE(parsed.contains("error_id"));
    EXPECT_THAT(members, testing::Not(testing::HasSubstr("\n")));
  }
}

TEST(RequestLog, NamesTheErrorOfAnInternalFailure) {
  RequestRecord record = Record("x");
  record.error_id = "0123";
  EXPECT_THAT(FormatRequest(record, LogFormat::kText), testing::HasSubstr(" error_id=0123 "));
}

}  // namespace
}  // namespace llavamini
