// Checkpoint folders with wrong files, shards, names, shapes and dtypes, and good ones of every
// kind in the same table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr char kQuery[] = "model.layers.0.self_attn.q_proj.weight";
constexpr char kIndex[] = "model.safetensors.index.json";

// model.safetensors with one tensor of the good ones changed.
void Change(const TemporaryFolder& folder, const std::string& name,
            const std::function<void(std::vector<TensorBytes>&, size_t)>& change) {
  std::vector<TensorBytes> tensors = GoodTensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name != name) continue;
    change(tensors, i);
    break;
  }
  folder.Write("model.safetensors", WriteSafetensors(tensors));
}

void Replace(const TemporaryFolder& folder, const std::string& name, const std::string& type,
             const std::vector<int64_t>& shape) {
  Change(folder, name, [&](std::vector<TensorBytes>& tensors, size_t i) {
    tensors[i] = CountingTensor(name, type, shape);
  });
}

void Drop(const TemporaryFolder& folder, const std::string& name) {
  Change(folder, name, [](std::vector<TensorBytes>& tensors, size_t i) {
    tensors.erase(tensors.begin() + static_cast<int64_t>(i));
  });
}

void Add(const TemporaryFolder& folder, const std::vector<TensorBytes>& extra) {
  std::vector<TensorBytes> tensors = GoodTensors();
  tensors.insert(tensors.end(), extra.begin(), extra.end());
  folder.Write("model.safetensors", WriteSafetensors(tensors));
}

void StoreAllAs(const TemporaryFolder& folder, const std::string& type) {
  std::vector<TensorBytes> tensors = GoodTensors();
  for (TensorBytes& tensor : tensors) tensor = CountingTensor(tensor.name, type, tensor.shape);
  folder.Write("model.safetensors", WriteSafetensors(tensors));
}

// The file with a header one byte longer, so that every tensor of more than one byte lies at an odd
// address.
std::string ShiftedByOne(const std::string& file) {
  constexpr size_t kPrefix = 8;
  const size_t length = static_cast<uint8_t>(file[0]) + size_t{256} * static_cast<uint8_t>(file[1]);
  return WithHeader(file.substr(kPrefix, length) + " ", file.substr(kPrefix + length));
}

// Shards in place of the single file, with the index changed.
void Reindex(const TemporaryFolder& folder, const std::function<void(json&)>& change) {
  folder.Remove("model.safetensors");
  WriteGoodShards(folder);
  json index = GoodIndex();
  change(index);
  WriteIndex(folder, index);
}

void PlaceIn(const TemporaryFolder& folder, const json& file) {
  Reindex(folder, [&](json& index) { index["weight_map"][kQuery] = file; });
}

struct Folder {
  const char* name;
  std::function<void(const TemporaryFolder&)> change;  // of a good folder
  const char* expected;                                // "" for a folder that loads
};

const std::vector<Folder>& Folders() {
  using F = const TemporaryFolder&;
  static const std::vector<Folder> kFolders = {
      {"Unchanged", [](F) {}, ""},
      {"Float32", [](F f) { StoreAllAs(f, "F32"); }, ""},
      {"Float16", [](F f) { StoreAllAs(f, "F16"); }, ""},
      {"Bfloat16", [](F f) { StoreAllAs(f, "BF16"); }, ""},
      {"TiedHead", [](F f) { Drop(f, "lm_head.weight"); }, ""},
      {"Sharded", [](F f) { Reindex(f, [](json&) {}); }, ""},
      {"IndexWithoutMetadata", [](F f) { Reindex(f, [](json& i) { i.erase("metadata"); }); }, ""},
      {"SingleFileBesideIndex", [](F f) { f.Write(kIndex, "not read"); }, ""},
      {"Buffers",
       [](F f) {
         Add(f, {CountingTensor("a.vision_model.embeddings.position_ids", "I64", {1, 5}),
                 CountingTensor("model.layers.0.self_attn.rotary_emb.inv_freq", "F64", {2})});
       },
       ""},
      {"HeaderNotPadded",
       [](F f) { f.Write("model.safetensors", ShiftedByOne(WriteSafetensors(GoodTensors()))); },
       ""},

      {"ConfigMissing", [](F f) { f.Remove("config.json"); }, "config.json: cannot be opened"},
      {"ConfigIsFolder",
       [](F f) {
         f.Remove("config.json");
         std::filesystem::create_directory(f.path() / "config.json");
       },
       "config.json: is not a regular file"},
      {"ConfigTooLarge", [](F f) { f.Write("config.json", std::string(1'100'000, ' ')); },
       "has 1100000 bytes, allowed are at most 1048576"},
      {"WeightsMissing", [](F f) { f.Remove("model.safetensors"); },
       "has neither model.safetensors nor model.safetensors.index.json"},
      {"WeightsArePipe",
       [](F f) {
         f.Remove("model.safetensors");
         ASSERT_EQ(mkfifo((f.path() / "model.safetensors").c_str(), 0600), 0);
       },
       "model.safetensors: is not a regular file"},

      {"TensorMissing", [](F f) { Drop(f, kQuery); },
       "q_proj.weight: expected [8, 8], but the checkpoint lacks it"},
      {"UnusedTensorMissing",
       [](F f) { Drop(f, "model.vision_tower.vision_tower.vision_model.post_layernorm.weight"); },
       "post_layernorm.weight: expected [8], but the checkpoint lacks it"},
      {"TensorNarrower",
       [](F f) {
         Replace(f, kQuery, "F32", {8, 4});
       },
       "model.layers.0.self_attn.q_proj.weight: expected [8, 8], the checkpoint has [8, 4]"},
      {"TensorTransposed",
       [](F f) {
         Replace(f, "model.embed_tokens.weight", "F16", {8, 20});
       },
       "expected [20, 8], the checkpoint has [8, 20]"},
      {"TensorFlat", [](F f) { Replace(f, kQuery, "F32", {64}); },
       "expected [8, 8], the checkpoint has [64]"},
      {"TensorScalar", [](F f) { Replace(f, "model.norm.weight", "F16", {}); },
       "expected [8], the checkpoint has []"},
      {"TensorEmpty", [](F f) { Replace(f, "model.norm.weight", "F16", {0}); },
       "expected [8], the checkpoint has [0]"},
      {"UnusedTensorMisshapen",
       [](F f) {
         Replace(f, "model.vision_tower.vision_tower.vision_model.post_layernorm.weight", "F16",
                 {9});
       },
       "post_layernorm.weight: expected [8], the checkpoint has [9]"},
      {"TensorI64",
       [](F f) {
         Replace(f, kQuery, "I64", {8, 8});
       },
       "expected F32, F16 or BF16, the checkpoint has I64"},
      {"TensorU8",
       [](F f) {
         Replace(f, kQuery, "U8", {8, 8});
       },
       "expected F32, F16 or BF16, the checkpoint has U8"},
      {"TensorF64",
       [](F f) {
         Replace(f, kQuery, "F64", {8, 8});
       },
       "expected F32, F16 or BF16, the checkpoint has F64"},
      {"TensorBool",
       [](F f) {
         Replace(f, kQuery, "BOOL", {8, 8});
       },
       "expected F32, F16 or BF16, the checkpoint has BOOL"},
      {"LeftOver", [](F f) { Add(f, {CountingTensor("extra", "F16", {1})}); },
       "no place for 1 of the checkpoint's tensors: extra"},
      {"LeftOverMany",
       [](F f) {
         Add(f, {CountingTensor("e", "F16", {1}), CountingTensor("d", "F16", {0}),
                 CountingTensor("c", "F16", {1}), CountingTensor("b", "F16", {1})});
       },
       "no place for 4 of the checkpoint's tensors: b, c, d, ..."},
      {"LeftOverLooksLikeBuffer",
       [](F f) { Add(f, {CountingTensor("a.not_position_ids", "I64", {1})}); },
       "no place for 1 of the checkpoint's tensors: a.not_position_ids"},

      {"IndexNotJson",
       [](F f) {
         f.Remove("model.safetensors");
         f.Write(kIndex, "{");
       },
       "model.safetensors.index.json: is not valid JSON"},
      {"IndexIsList",
       [](F f) {
         f.Remove("model.safetensors");
         f.Write(kIndex, "[1]");
       },
       "model.safetensors.index.json: is a list of 1; it must be an object"},
      {"IndexNameTwice",
       [](F f) {
         f.Remove("model.safetensors");
         f.Write(kIndex, R"({"weight_map":{"a":"x.safetensors","a":"y.safetensors"}})");
       },
       "the name \"a\" occurs twice"},
      {"IndexWithoutMap", [](F f) { Reindex(f, [](json& i) { i.erase("weight_map"); }); },
       "weight_map is missing"},
      {"IndexMapEmpty", [](F f) { Reindex(f, [](json& i) { i["weight_map"] = json::object(); }); },
       "weight_map is an object; it must be an object of file names"},
      {"IndexMapIsList", [](F f) { Reindex(f, [](json& i) {
                                     i["weight_map"] = {1, 2};
                                   }); },
       "weight_map is a list of 2"},
      {"IndexPlaceIsNumber", [](F f) { PlaceIn(f, 3); }, "q_proj.weight: is placed in 3;"},
      {"IndexPlaceAbove", [](F f) { PlaceIn(f, "../model-b.safetensors"); },
       "is placed in \"../model-b.safetensors\"; it must be a .safetensors file of the folder"},
      {"IndexPlaceAbsolute", [](F f) { PlaceIn(f, "/etc/model.safetensors"); },
       "must be a .safetensors file of the folder itself"},
      {"IndexPlaceBelow", [](F f) { PlaceIn(f, "sub/model.safetensors"); },
       "must be a .safetensors file of the folder itself"},
      {"IndexPlaceIsParent", [](F f) { PlaceIn(f, ".."); }, "must be a .safetensors file"},
      {"IndexPlaceEmpty", [](F f) { PlaceIn(f, ""); }, "must be a .safetensors file"},
      {"IndexPlaceOtherKind", [](F f) { PlaceIn(f, "config.json"); },
       "must be a .safetensors file"},
      {"IndexPlaceWithNul", [](F f) { PlaceIn(f, std::string("a\0.safetensors", 14)); },
       "must be a .safetensors file"},
      {"IndexPlaceTooLong", [](F f) { PlaceIn(f, std::string(300, 'a') + ".safetensors"); },
       "must be a .safetensors file"},
      {"ShardMissing",
       [](F f) {
         Reindex(f, [](json&) {});
         f.Remove(ShardName("b"));
       },
       "model-b.safetensors: cannot be opened"},
      {"ShardBroken",
       [](F f) {
         Reindex(f, [](json&) {});
         f.Write(ShardName("b"), "short");
       },
       "model-b.safetensors: has 5 bytes"},
      {"ShardLacksTensor",
       [](F f) { Reindex(f, [](json& i) { i["weight_map"]["ghost"] = ShardName("a"); }); },
       "model-a.safetensors: ghost: is missing, but model.safetensors.index.json places it here"},
      {"ShardHasMore", [](F f) { Reindex(f, [](json& i) { i["weight_map"].erase(kQuery); }); },
       "model-b.safetensors: model.layers.0.self_attn.q_proj.weight: is not in "
       "model.safetensors.index.json"},
      {"ShardsShareName",
       [](F f) {
         Reindex(f, [](json&) {});
         std::vector<TensorBytes> tensors = GoodTensors();
         tensors.erase(tensors.begin() + 1, tensors.begin() + 3);
         f.Write(ShardName("b"), WriteSafetensors(tensors));
       },
       "model-b.safetensors: lm_head.weight: is placed in model-a.safetensors by "
       "model.safetensors.index.json"},
      {"GenerationConfigBroken", [](F f) { f.Write("generation_config.json", R"({"top_p": 0})"); },
       "generation_config.json: top_p is 0; it must be a number from 1e-06 to 1"},
  };
  return kFolders;
}

class FolderTest : public testing::TestWithParam<Folder> {};

TEST_P(FolderTest, LoadsOrIsRefusedInOneLine) {
  const TemporaryFolder folder;
  WriteGoodFolder(folder);
  GetParam().change(folder);
  const absl::Status status = LoadFolder(folder.path());
  const std::string expected = GetParam().expected;
  if (expected.empty()) {
    EXPECT_EQ(status, absl::OkStatus());
    return;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(expected));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("\n")));
}

INSTANTIATE_TEST_SUITE_P(Checkpoint, FolderTest, testing::ValuesIn(Folders()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Checkpoint, RefusesAFolderThatIsNotThere) {
  const TemporaryFolder folder;
  const absl::Status status = LoadFolder(folder.path() / "nowhere");
  EXPECT_THAT(std::string(status.message()), HasSubstr("nowhere/config.json: cannot be opened"));
}

}  // namespace
}  // namespace llavamini
