// A checkpoint on a GPU equals the same checkpoint on the CPU, bit for bit.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

// Of many pieces, of a piece and a bit, of one element, of none; the first puts the others at odd
// addresses.
std::vector<TensorBytes> Tensors(const std::string& type) {
  return {CountingTensor("shift", "U8", {3}),         CountingTensor("large", type, {4001, 1031}),
          CountingTensor("wide", type, {1, 1049000}), CountingTensor("scalar", type, {}),
          CountingTensor("empty", type, {0, 3}),      CountingTensor("rows", type, {513, 1031})};
}

std::unique_ptr<Checkpoint> Open(const TemporaryFolder& folder, at::Device device,
                                 at::ScalarType dtype) {
  auto checkpoint = Checkpoint::Open(folder.path(), std::nullopt);
  EXPECT_EQ(checkpoint.status(), absl::OkStatus());
  (*checkpoint)->SetTarget(device, dtype);
  return *std::move(checkpoint);
}

// What a model would do, in the order of a model that does not follow the file's.
std::vector<at::Tensor> TakeAll(Checkpoint& checkpoint) {
  std::vector<at::Tensor> taken;
  taken.push_back(checkpoint.Take("scalar", {}));
  taken.push_back(
      checkpoint.TakeRows(std::vector<std::string>{"rows", "large"}, {513, 4001}, {1031}));
  taken.push_back(checkpoint.Take("empty", {0, 3}));
  taken.push_back(checkpoint.Take("wide", {1, 1049000}));
  return taken;
}

TEST(DeviceUpload, EqualsTheCpusCheckpoint) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU";
  for (const std::string stored : {"F32", "F16", "BF16"}) {
    const TemporaryFolder folder;
    folder.Write("model.safetensors", WriteSafetensors(Tensors(stored)));
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const auto on_gpu = Open(folder, at::Device(at::kCUDA, 0), dtype);
      const auto on_cpu = Open(folder, at::kCPU, dtype);
      const std::vector<at::Tensor> ours = TakeAll(*on_gpu), expected = TakeAll(*on_cpu);
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_TRUE(ours[i].is_cuda());
        ASSERT_EQ(ours[i].scalar_type(), dtype);
        const at::Tensor back = ours[i].cpu();
        ASSERT_EQ(back.sizes(), expected[i].sizes());
        ASSERT_EQ(back.nbytes(), expected[i].nbytes());
        EXPECT_EQ(std::string(static_cast<const char*>(back.const_data_ptr()), back.nbytes()),
                  std::string(static_cast<const char*>(expected[i].const_data_ptr()),
                              expected[i].nbytes()))
            << stored << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace llavamini
