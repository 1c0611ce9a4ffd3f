// The goldens of tests/golden/parity: one folder per small checkpoint.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"

namespace llavamini {

struct GoldenCase {
  std::string name;
  std::vector<TokenId> ids;
  int64_t frames = 0;  // 0: no image
};

struct Goldens {
  std::filesystem::path folder;
  std::optional<std::filesystem::path> vision_tower;
  std::vector<GoldenCase> cases;
  std::map<std::string, at::Tensor> tensors;

  const at::Tensor& Get(const GoldenCase& golden, const std::string& what) const;
};

std::filesystem::path GoldenFolder();
std::vector<std::string> GoldenNames();
std::string TestNameOf(const std::string& golden);  // as GoogleTest allows
Goldens LoadGoldens(const std::filesystem::path& folder);

// uint8 [T, S, side, side, 3] → one input per frame.
std::vector<ImageInput> ImagesOf(const at::Tensor& pictures);

}  // namespace llavamini
