// Every kind of bad request, as a client sees it, each followed by a good one that is answered.
#include <gmock/gmock.h>

#include <functional>
#include <limits>

#include "google/rpc/error_details.pb.h"
#include "tests/server/rpc/service_fixture.h"

namespace llavamini {
namespace {

struct Case {
  std::string name;
  std::function<void(v1::ChatRequest&)> change;  // of a good request with a picture
  grpc::StatusCode code;
  std::string reason;
  std::string field;  // of BadRequest; empty: none
};

std::string* Picture(v1::ChatRequest& request) {
  return request.mutable_messages(0)
      ->mutable_content(1)
      ->mutable_image()
      ->mutable_source()
      ->mutable_data();
}

// A PNG's first bytes with a header that says how large the picture is.
std::string PngHeader(uint32_t side) {
  std::string png("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
  for (int i = 0; i < 2; ++i) {
    for (int shift = 24; shift >= 0; shift -= 8) png += static_cast<char>(side >> shift);
  }
  return png + std::string("\x08\x02\0\0\0\0\0\0\0", 9) + std::string(64, '\0');
}

std::vector<Case> Cases() {
  using R = v1::ChatRequest;
  constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;
  constexpr auto kUnimplemented = grpc::StatusCode::UNIMPLEMENTED;
  const std::string source = "messages[0].content[1].image.source";
  return {
      {"no message", [](R& r) { r.clear_messages(); }, kInvalid, "INVALID_FIELD", "messages"},
      {"last not the user's", [](R& r) { r.mutable_messages(0)->set_role(v1::ROLE_ASSISTANT); },
       kInvalid, "INVALID_FIELD", "messages[0].content[1].image"},
      {"answer last",
       [](R& r) {
         *r.add_messages() = r.messages(0);
         r.mutable_messages(1)->mutable_content()->RemoveLast();
         r.mutable_messages(1)->set_role(v1::ROLE_ASSISTANT);
       },
       kInvalid, "INVALID_FIELD", "messages[1].role"},
      {"unknown role", [](R& r) { r.mutable_messages(0)->set_role(static_cast<v1::Role>(17)); },
       kInvalid, "INVALID_FIELD", "messages[0].role"},
      {"empty content", [](R& r) { r.mutable_messages(0)->clear_content(); }, kInvalid,
       "INVALID_FIELD", "messages[0].content"},
      {"temperature", [](R& r) { r.mutable_params()->set_temperature(3); }, kInvalid,
       "INVALID_FIELD", "params.temperature"},
      {"NaN", [](R& r) { r.mutable_params()->set_top_p(std::numeric_limits<float>::quiet_NaN()); },
       kInvalid, "INVALID_FIELD", "params.top_p"},
      {"too many images",
       [](R& r) { *r.mutable_messages(0)->add_content() = r.messages(0).content(1); }, kInvalid,
       "INVALID_FIELD", "messages[0].content[2].image"},
      {"not a picture", [](R& r) { *Picture(r) = "GIF89a, or so it says"; }, kInvalid,
       "MEDIA_UNSUPPORTED", source},
      {"cut off", [](R& r) { Picture(r)->resize(Picture(r)->size() / 2); }, kInvalid,
       "MEDIA_CORRUPT", source},
      {"too large a side", [](R& r) { *Picture(r) = PngHeader(16385); }, kInvalid,
       "MEDIA_TOO_LARGE", source},
      {"too many bytes", [](R& r) { Picture(r)->resize((10 << 20) + 1); }, kInvalid,
       "MEDIA_TOO_LARGE", source},
      {"prompt too long",
       [](R& r) {
         std::string t;
         for (int i = 0; i < 300; ++i) t += "what ";
         r.mutable_messages(0)->mutable_content(0)->set_text(t);
       },
       kInvalid, "CONTEXT_LENGTH_EXCEEDED", "messages"},
      {"unknown model", [](R& r) { r.set_model("other"); }, grpc::StatusCode::NOT_FOUND,
       "MODEL_NOT_FOUND", ""},
      {"stored media",
       [](R& r) {
         r.mutable_messages(0)->mutable_content(1)->mutable_image()->mutable_source()->set_media_id(
             "x");
       },
       kUnimplemented, "NOT_SERVED", ""},
      {"request id", [](R& r) { r.set_request_id(std::string(200, 'x')); }, kInvalid,
       "INVALID_FIELD", "request_id"},
  };
}

TEST_F(ServiceTest, RefusesEveryBadRequestAndAnswersTheNextGoodOne) {
  Start();
  const v1::ChatRequest good = PictureRequest(ReadRepositoryFile("demo/samples/shapes-1.png"));
  for (const Case& test : Cases()) {
    SCOPED_TRACE(test.name);
    v1::ChatRequest request = good;
    test.change(request);
    v1::ChatResponse response;
    for (const grpc::Status& status : {Chat(request, &response), Stream(request).status}) {
      EXPECT_EQ(status.error_code(), test.code) << status.error_message();
      EXPECT_EQ(ReasonIn(status), test.reason);
      const auto violations = DetailsOf<google::rpc::BadRequest>(status);
      ASSERT_EQ(violations.size(), test.field.empty() ? 0u : 1u);
      if (test.field.empty()) continue;
      EXPECT_EQ(violations[0].field_violations(0).field(), test.field);
      EXPECT_FALSE(violations[0].field_violations(0).description().empty());
    }
    EXPECT_TRUE(Stream(good).status.ok());
  }
}

TEST_F(ServiceTest, SaysTheLimitAndTheLengthOfALongPrompt) {
  Start();
  std::string text;
  for (int i = 0; i < 300; ++i) text += "what ";
  const auto infos = DetailsOf<google::rpc::ErrorInfo>(Stream(TextRequest(text)).status);
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_EQ(infos[0].domain(), "llavamini");
  EXPECT_EQ(infos[0].metadata().at("limit"), "256");
  EXPECT_GT(std::stoi(infos[0].metadata().at("length")), 300);
}

TEST_F(ServiceTest, RefusesAMessageAboveTheLimitOfTheTransport) {
  Start();
  v1::ChatResponse response;
  const v1::ChatRequest huge = TextRequest(std::string((64 << 20) + 1, 'a'));
  EXPECT_EQ(Chat(huge, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Chat(TextRequest(), &response).ok());
}

}  // namespace
}  // namespace llavamini
