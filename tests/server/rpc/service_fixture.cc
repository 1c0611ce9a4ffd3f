#include "tests/server/rpc/service_fixture.h"

#include <spdlog/spdlog.h>

#include <fstream>
#include <iterator>

#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "grpcpp/create_channel.h"

namespace llavamini {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

void AddText(const std::string& text, v1::Message* message) {
  message->set_role(v1::ROLE_USER);
  message->add_content()->set_text(text);
}

}  // namespace

std::string ReadRepositoryFile(const std::string& name) {
  std::ifstream file(std::string(LLAVAMINI_SOURCE_DIR "/") + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

v1::ChatRequest TextRequest(const std::string& text) {
  v1::ChatRequest request;
  AddText(text, request.add_messages());
  return request;
}

v1::ChatRequest PictureRequest(const std::string& bytes) {
  v1::ChatRequest request = TextRequest();
  request.mutable_messages(0)->add_content()->mutable_image()->mutable_source()->set_data(bytes);
  return request;
}

std::string StreamedAnswer::text() const {
  std::string joined;
  for (const v1::ChatEvent& event : events) joined += event.delta().text();
  return joined;
}

std::vector<v1::Stage> StreamedAnswer::stages() const {
  std::vector<v1::Stage> stages;
  for (const v1::ChatEvent& event : events) {
    if (event.has_progress()) stages.push_back(event.progress().stage());
  }
  return stages;
}

std::string ReasonIn(const grpc::Status& status) {
  const auto infos = DetailsOf<google::rpc::ErrorInfo>(status);
  return infos.empty() ? "" : infos[0].reason();
}

ServiceTest::ServiceTest()
    : tokenizer_(*Tokenizer::Load(LLAVAMINI_SOURCE_DIR "/demo/checkpoint/tokenizer.json", 1000)) {
  spdlog::set_level(spdlog::level::off);
  options_.model.name = "demo";
  options_.model.vocab_size = 1000;
  options_.model.max_context_tokens = 256;
  options_.engine.max_running = 4;
  options_.engine.max_waiting = 4;
  options_.end_tokens = {FakeModel::kEnd};
  options_.image_cache_bytes = 1 << 20;
  options_.memory_bytes = 256 << 20;
  options_.prepare_threads = 2;
}

ServiceTest::~ServiceTest() {
  if (model_ != nullptr) model_->Release();
  if (stack_ != nullptr) stack_->engine().Stop(absl::CancelledError("end of the test"));
  if (server_ != nullptr) server_->Shutdown(absl::Now() + absl::Seconds(1));
  stack_.reset();
}

void ServiceTest::Open() {
  shared_.version = "test";
  shared_.start_time = absl::Now();
  shared_.max_pending_bytes = max_pending_bytes_;
  auto server = RpcServer::Open("127.0.0.1:0", &shared_);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  channel_ = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                       grpc::InsecureChannelCredentials(), arguments);
  chat_ = v1::ChatService::NewStub(channel_);
  models_ = v1::ModelService::NewStub(channel_);
  media_ = v1::MediaService::NewStub(channel_);
  health_ = grpc::health::v1::Health::NewStub(channel_);
}

void ServiceTest::Start() {
  if (server_ == nullptr) Open();
  const auto pages = static_cast<int32_t>((options_.engine.max_running + 1) *
                                          (options_.model.max_context_tokens / kPageTokens + 1));
  model_ = std::make_unique<FakeModel>(pages, tokenizer_->Encode(" red blue green yellow"));
  auto stack = ChatStack::Create(options_, model_.get(), tokenizer_.get());
  ASSERT_TRUE(stack.ok()) << stack.status();
  stack_ = *std::move(stack);
  serving_ = {&stack_->backend(), tokenizer_.get(), model_->facts(), options_.engine.max_waiting};
  server_->StartServing(&serving_);
}

StreamedAnswer ServiceTest::Stream(const v1::ChatRequest& request) {
  grpc::ClientContext context;
  StreamedAnswer answer;
  const auto reader = chat_->StreamChat(&context, request);
  v1::ChatEvent event;
  while (reader->Read(&event)) answer.events.push_back(event);
  answer.status = reader->Finish();
  return answer;
}

grpc::Status ServiceTest::Chat(const v1::ChatRequest& request, v1::ChatResponse* response) {
  grpc::ClientContext context;
  return chat_->Chat(&context, request, response);
}

template <typename Reached>
bool ServiceTest::WaitFor(Reached reached) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!reached(stack_->engine().stats())) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

bool ServiceTest::WaitForRunning(int64_t running) {
  return WaitFor([=](const EngineStats& stats) { return stats.running == running; });
}

bool ServiceTest::WaitForTaken(int64_t running_and_waiting) {
  return WaitFor([=](const EngineStats& stats) {
    return stats.running + stats.waiting == running_and_waiting;
  });
}

}  // namespace llavamini
