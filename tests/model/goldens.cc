#include "tests/model/goldens.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/checkpoint/safetensors.h"

namespace llavamini {
namespace {

at::ScalarType ScalarTypeOf(TensorType type) {
  switch (type) {
    case TensorType::kU8:
      return at::kByte;
    case TensorType::kI32:
      return at::kInt;
    default:
      return at::kFloat;
  }
}

// The cases are in the file's metadata, which the server's reader has no use for.
nlohmann::json ReadCases(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  uint64_t length = 0;
  in.read(reinterpret_cast<char*>(&length), sizeof length);
  std::string header(length, ' ');
  in.read(header.data(), static_cast<std::streamsize>(length));
  const auto metadata = nlohmann::json::parse(header).at("__metadata__");
  return nlohmann::json::parse(metadata.at("cases").get<std::string>());
}

}  // namespace

const at::Tensor& Goldens::Get(const GoldenCase& golden, const std::string& what) const {
  return tensors.at(golden.name + "/" + what);
}

std::filesystem::path GoldenFolder() {
  return std::filesystem::path(LLAVAMINI_SOURCE_DIR) / "tests/golden/parity";
}

std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenFolder())) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string TestNameOf(const std::string& golden) {
  std::string name = golden;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

Goldens LoadGoldens(const std::filesystem::path& folder) {
  Goldens goldens;
  goldens.folder = folder;
  if (std::filesystem::exists(folder / "tower")) goldens.vision_tower = folder / "tower";
  const auto file = SafetensorsFile::Open(folder / "goldens.safetensors").value();
  for (const TensorInfo& info : file.tensors()) {
    at::Tensor tensor = at::empty(info.shape, ScalarTypeOf(info.type));
    std::memcpy(tensor.data_ptr(), info.data.data(), info.data.size());
    goldens.tensors[info.name] = tensor;
  }
  const nlohmann::json cases = ReadCases(folder / "goldens.safetensors");
  for (const auto& [name, facts] : cases.items()) {
    goldens.cases.push_back(
        {name, facts.at("ids").get<std::vector<TokenId>>(), facts.at("frames").get<int64_t>()});
  }
  return goldens;
}

std::vector<ImageInput> ImagesOf(const at::Tensor& pictures) {
  std::vector<ImageInput> inputs;
  for (int64_t i = 0; i < pictures.size(0); ++i) {
    const at::Tensor one = pictures[i].contiguous();
    ImageInput input;
    input.side = static_cast<int>(one.size(1));
    input.resolution_ratio =
        one.size(0) == 1 ? 1 : static_cast<int>(std::lround(std::sqrt(one.size(0) - 1.0)));
    input.parts.assign(one.data_ptr<uint8_t>(), one.data_ptr<uint8_t>() + one.numel());
    inputs.push_back(std::move(input));
  }
  return inputs;
}

}  // namespace llavamini
