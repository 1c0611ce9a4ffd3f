// What was timed, kept between starts: {"device": ..., "choices": [{rows, n, k, type, bias,
// residual, fp8, norm, activation, tile_rows, algorithm}]}, the algorithm as cublasLt's opaque
// words; null for our own kernels, of which the one for few rows has no tiles.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "model/cuda/products.h"

namespace llavamini::kernels {
namespace {

constexpr size_t kWords = sizeof(cublasLtMatmulAlgo_t) / sizeof(uint64_t);

bool IsTile(int rows) {
  return std::find(std::begin(kActivatedTiles), std::end(kActivatedTiles), rows) !=
         std::end(kActivatedTiles);
}

}  // namespace

void Products::Load(const std::filesystem::path& file) {
  std::ifstream in(file);
  const auto json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("device", "") != device_) return;
  try {
    for (const auto& entry : json.at("choices")) {
      const Key key{entry.at("rows"), entry.at("n"),    entry.at("k"),
                    entry.at("type"), entry.at("bias"), entry.at("residual"),
                    entry.at("fp8"),  entry.at("norm"), entry.at("activation")};
      Choice choice;
      choice.tile_rows = entry.at("tile_rows");
      if (!entry.at("algorithm").is_null()) {
        const auto words = entry.at("algorithm").get<std::vector<uint64_t>>();
        if (words.size() != kWords) continue;
        std::memcpy(&choice.algorithm, words.data(), sizeof choice.algorithm);
      } else if (choice.tile_rows == 0) {
        choice.kernel = Kernel::kFewRows;
      } else {
        choice.kernel = Kernel::kActivated;
        if (!IsTile(choice.tile_rows)) continue;
      }
      choices_.emplace(key, choice);
    }
  } catch (const nlohmann::json::exception&) {
    choices_.clear();  // not a file of ours
  }
}

void Products::Save(const std::filesystem::path& file) const {
  if (deterministic_) return;  // nothing was timed
  auto entries = nlohmann::json::array();
  for (const auto& [key, choice] : choices_) {
    if (!choice) continue;
    nlohmann::json algorithm;
    if (choice->kernel == Kernel::kCublasLt) {
      std::vector<uint64_t> words(kWords);
      std::memcpy(words.data(), &choice->algorithm, sizeof choice->algorithm);
      algorithm = words;
    }
    entries.push_back({{"rows", key.rows},
                       {"n", key.n},
                       {"k", key.k},
                       {"type", key.type},
                       {"bias", key.bias},
                       {"residual", key.residual},
                       {"fp8", key.fp8},
                       {"norm", key.norm},
                       {"activation", key.activation},
                       {"tile_rows", choice->tile_rows},
                       {"algorithm", algorithm}});
  }
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  const std::filesystem::path unfinished = file.string() + ".part";
  std::ofstream out(unfinished);
  out << nlohmann::json{{"device", device_}, {"choices", entries}}.dump() << "\n";
  out.close();
  if (out) std::filesystem::rename(unfinished, file, error);
}

}  // namespace llavamini::kernels
