#include "server/rpc/reflection_v1.h"

#include <gmock/gmock.h>

#include <set>

#include "google/protobuf/descriptor.pb.h"
#include "tests/server/rpc/service_fixture.h"

namespace llavamini {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

class ReflectionTest : public ServiceTest {
 protected:
  // Asks over one call; the server answers in order.
  std::vector<ServerReflectionResponse> Ask(const std::vector<ServerReflectionRequest>& requests) {
    Open();
    const auto stub = grpc::reflection::v1::ServerReflection::NewStub(channel_);
    grpc::ClientContext context;
    const auto call = stub->ServerReflectionInfo(&context);
    std::vector<ServerReflectionResponse> responses;
    for (const ServerReflectionRequest& request : requests) {
      ServerReflectionResponse response;
      EXPECT_TRUE(call->Write(request));
      EXPECT_TRUE(call->Read(&response));
      responses.push_back(response);
    }
    call->WritesDone();
    EXPECT_TRUE(call->Finish().ok());
    return responses;
  }

  static std::set<std::string> FilesIn(const ServerReflectionResponse& response) {
    std::set<std::string> names;
    for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      EXPECT_TRUE(file.ParseFromString(bytes));
      EXPECT_TRUE(names.insert(file.name()).second) << file.name() << " twice";
    }
    return names;
  }
};

TEST_F(ReflectionTest, ListsServicesAndDescribesThemWithTheirImports) {
  ServerReflectionRequest list, file, method, health;
  list.set_list_services("");
  file.set_file_by_filename("llavamini/v1/chat.proto");
  method.set_file_containing_symbol("llavamini.v1.ChatService.StreamChat");
  health.set_file_containing_symbol("grpc.health.v1.Health");
  const auto responses = Ask({list, file, method, health});

  std::vector<std::string> services;
  for (const auto& service : responses[0].list_services_response().service()) {
    services.push_back(service.name());
  }
  EXPECT_THAT(services,
              testing::UnorderedElementsAre("llavamini.v1.ChatService", "llavamini.v1.ModelService",
                                            "llavamini.v1.MediaService", "grpc.health.v1.Health",
                                            "grpc.reflection.v1.ServerReflection",
                                            "grpc.reflection.v1alpha.ServerReflection"));
  const std::set<std::string> chat = {"llavamini/v1/chat.proto", "llavamini/v1/media.proto",
                                      "google/protobuf/duration.proto",
                                      "google/protobuf/timestamp.proto"};
  EXPECT_EQ(FilesIn(responses[1]), chat);
  EXPECT_EQ(FilesIn(responses[2]), chat);
  EXPECT_EQ(responses[2].original_request().file_containing_symbol(),
            "llavamini.v1.ChatService.StreamChat");
  EXPECT_EQ(FilesIn(responses[3]), std::set<std::string>{"grpc/health/v1/health.proto"});
}

TEST_F(ReflectionTest, DescribesEveryServiceThatItLists) {
  Open();
  ServerReflectionRequest list;
  list.set_list_services("");
  const std::vector<ServerReflectionResponse> listed = Ask({list});
  for (const auto& service : listed[0].list_services_response().service()) {
    ServerReflectionRequest request;
    request.set_file_containing_symbol(service.name());
    const ServerReflectionResponse response =
        AnswerReflection(request, {}, *google::protobuf::DescriptorPool::generated_pool());
    EXPECT_FALSE(FilesIn(response).empty()) << service.name();
  }
}

TEST_F(ReflectionTest, AnswersWhatItDoesNotKnowWithAnError) {
  ServerReflectionRequest file, symbol, extension, numbers, no_type, nothing;
  file.set_file_by_filename("/etc/passwd");
  symbol.set_file_containing_symbol("no.such.Symbol");
  extension.mutable_file_containing_extension()->set_containing_type("llavamini.v1.Message");
  extension.mutable_file_containing_extension()->set_extension_number(7);
  numbers.set_all_extension_numbers_of_type("llavamini.v1.Message");
  no_type.set_all_extension_numbers_of_type("no.such.Type");
  const auto responses = Ask({file, symbol, extension, numbers, no_type, nothing});
  EXPECT_EQ(responses[0].error_response().error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(responses[1].error_response().error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(responses[2].error_response().error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(responses[3].all_extension_numbers_response().base_type_name(), "llavamini.v1.Message");
  EXPECT_EQ(responses[3].all_extension_numbers_response().extension_number_size(), 0);
  EXPECT_EQ(responses[4].error_response().error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(responses[5].error_response().error_code(), grpc::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace llavamini
