// The sampling kernel against the host's sampler: the same logits, the same parameters, the same
// tokens.
#ifdef LLAVAMINI_WITH_CUDA

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "model/cuda/sampling.h"
#include "model/cuda/tensors.h"
#include "model/sampler.h"
#include "tests/model/kernel_test.h"

namespace llavamini {
namespace {

constexpr Place kPadding = -1;
constexpr TokenId kUntouched = -7;

// Every combination of filters at some temperature.
std::vector<SamplingParams> AllKinds() {
  std::vector<SamplingParams> kinds = {{}};
  for (const float temperature : {0.3f, 1.0f, 1.7f}) {
    for (const int32_t top_k : {0, 1, 40}) {
      for (const float top_p : {1.0f, 0.9f, 0.01f}) {
        for (const float min_p : {0.0f, 0.05f}) {
          kinds.push_back(
              {.temperature = temperature, .top_p = top_p, .top_k = top_k, .min_p = min_p});
        }
      }
    }
  }
  return kinds;
}

// [rows, vocab] on the host. Of seven rows one has many equals, one NaNs, one nothing but minus
// infinities, one many of them, one nothing but both zeros.
at::Tensor Logits(int rows, int vocab, at::ScalarType dtype) {
  static at::Generator generator = at::detail::createCPUGenerator(11);
  at::Tensor logits = at::randn({rows, vocab}, generator) * 3;
  const at::Tensor coin = at::rand({rows, vocab}, generator).lt(0.4);
  for (int row = 0; row < rows; ++row) {
    at::Tensor mine = logits[row];
    if (row % 7 == 2) mine.round_();
    if (row % 7 == 3) mine.masked_fill_(coin[row], NAN);
    if (row % 7 == 4) mine.fill_(-INFINITY);
    if (row % 7 == 5) mine.masked_fill_(coin[row], -INFINITY);
    if (row % 7 == 6) mine.zero_().masked_fill_(coin[row], -0.0f);
  }
  return logits.to(dtype);
}

struct Request {
  SamplingParams params;
  int64_t token_index = 0;
  Place place = kPadding;
};

// The rows' requests, the n-th time that these rows are sampled: every row in its own kind, every
// fifth padding.
std::vector<Request> Requests(int rows, int round) {
  static const std::vector<SamplingParams> kinds = AllKinds();
  std::vector<Request> requests(rows);
  for (int row = 0; row < rows; ++row) {
    Request& request = requests[row];
    request.params = kinds[(row + round) % kinds.size()];
    request.params.seed = (uint64_t{1} << 40) + static_cast<uint64_t>(row * 1000 + round);
    request.token_index = row + round;
    if ((row + round) % 5 != 4) request.place = rows - 1 - row;
  }
  return requests;
}

TokenId OnHost(const at::Tensor& row, const Request& request) {
  at::Tensor logits = row.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  const std::vector<TokenId> answer(request.token_index);
  return Sample({logits.data_ptr<float>(), static_cast<size_t>(logits.numel())},
                {{}, answer, request.params})
      .token.id;
}

// The kernel's buffers on the GPU.
struct Sampling {
  explicit Sampling(const at::Tensor& host_logits)
      : rows(static_cast<int>(host_logits.size(0))),
        logits(host_logits.to(at::kCUDA)),
        sampling(Bytes(rows * sizeof(DeviceSampling))),
        ids(at::full({rows}, kUntouched, logits.options().dtype(at::kInt))),
        newest(at::full_like(ids, kUntouched)),
        workspace(Bytes(kernels::SampleRowsWorkspace(rows))) {}

  static at::Tensor Bytes(size_t bytes) {
    return at::zeros({static_cast<int64_t>(bytes)}, at::TensorOptions(at::kCUDA).dtype(at::kByte));
  }
  void Set(const std::vector<Request>& requests) {
    std::vector<DeviceSampling> plain;
    for (const Request& request : requests) {
      plain.push_back(ForDevice(request.params, request.token_index, request.place));
    }
    sampling.copy_(at::from_blob(plain.data(), {sampling.numel()}, at::kByte));
    newest.fill_(kUntouched);
  }
  void Launch(cudaStream_t stream) {
    kernels::SampleRows(ops::cuda::ElementOf(logits.scalar_type()),
                        {logits.data_ptr(), static_cast<DeviceSampling*>(sampling.data_ptr()),
                         ids.data_ptr<int32_t>(), newest.data_ptr<int32_t>(), workspace.data_ptr(),
                         rows, static_cast<int>(logits.size(1))},
                        stream);
    ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  }
  void Expect(const at::Tensor& host_logits, const std::vector<Request>& requests) const {
    const at::Tensor chosen = ids.cpu(), fed_back = newest.cpu();
    for (int row = 0; row < rows; ++row) {
      const Place place = requests[row].place;
      const TokenId expected = place < 0 ? 0 : OnHost(host_logits[row], requests[row]);
      EXPECT_EQ(chosen[row].item<int>(), expected) << "row " << row;
      EXPECT_EQ(fed_back[rows - 1 - row].item<int>(), place < 0 ? kUntouched : expected)
          << "row " << row;
    }
    EXPECT_FALSE(workspace.any().item<bool>());
  }

  int rows;
  at::Tensor logits, sampling, ids, newest, workspace;
};

using SampleRows = KernelTest;

TEST_P(SampleRows, ChooseWhatTheHostChooses) {
  for (const int vocab : {96, 1000, 1001, 128256}) {
    for (const int rows : {1, 3, 64}) {
      const at::Tensor logits = Logits(rows, vocab, GetParam());
      Sampling sampling(logits);
      for (int round = 0; round < (rows == 64 ? 4 : 60); ++round) {
        SCOPED_TRACE(std::to_string(rows) + " rows of " + std::to_string(vocab) + ", round " +
                     std::to_string(round));
        const std::vector<Request> requests = Requests(rows, round);
        sampling.Set(requests);
        sampling.Launch(nullptr);
        sampling.Expect(logits, requests);
      }
    }
  }
}

TEST_P(SampleRows, ChooseTheSameHoweverManyRowsThereAre) {
  const at::Tensor logits = Logits(512, 5000, GetParam());
  const std::vector<Request> requests = Requests(512, 0);
  Sampling all(logits);
  all.Set(requests);
  all.Launch(nullptr);
  all.Expect(logits, requests);
  for (const int row : {0, 1, 100, 511}) {
    std::vector<Request> alone = {requests[row]};
    alone[0].place = 0;
    Sampling single(logits.slice(0, row, row + 1));
    single.Set(alone);
    single.Launch(nullptr);
    single.Expect(logits.slice(0, row, row + 1), alone);
  }
}

TEST_P(SampleRows, AGraphsReplaysReadTheParametersOfTheirOwnTime) {
  const at::Tensor logits = Logits(14, 128256, GetParam());
  Sampling sampling(logits);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  sampling.Launch(stream);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);
  for (int round = 0; round < 3; ++round) {
    const std::vector<Request> requests = Requests(14, round);
    sampling.Set(requests);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    ASSERT_EQ(cudaGraphLaunch(replay, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    sampling.Expect(logits, requests);
  }
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, SampleRows, kKernelDtypes, DtypeOfTest);

}  // namespace
}  // namespace llavamini

#endif  // LLAVAMINI_WITH_CUDA
