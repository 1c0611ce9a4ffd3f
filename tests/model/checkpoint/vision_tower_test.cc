// CLIP in a folder of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

using testing::HasSubstr;

std::vector<TensorBytes> WithoutTower() {
  std::vector<TensorBytes> tensors = GoodTensors();
  std::erase_if(tensors, [](const TensorBytes& t) { return t.name.starts_with("model.vision_"); });
  return tensors;
}

class VisionTowerTest : public testing::Test {
 protected:
  VisionTowerTest() {
    WriteGoodFolder(main_);
    main_.Write("model.safetensors", WriteSafetensors(WithoutTower()));
  }

  void WriteTower(const std::vector<TensorBytes>& extra) const {
    std::vector<TensorBytes> tensors = GoodTowerTensors();
    tensors.insert(tensors.end(), extra.begin(), extra.end());
    tower_.Write("model.safetensors", WriteSafetensors(tensors));
  }

  std::string LoadError() const {
    return std::string(LoadFolder(main_.path(), tower_.path()).message());
  }

  const TemporaryFolder main_;
  const TemporaryFolder tower_;
};

TEST_F(VisionTowerTest, GivesTheTensorsThatTheCheckpointLacks) {
  WriteTower({});
  EXPECT_EQ(LoadFolder(main_.path(), tower_.path()), absl::OkStatus());
}

TEST_F(VisionTowerTest, MayHoldTheRestOfClip) {
  WriteTower({CountingTensor("logit_scale", "F32", {}),
              CountingTensor("text_model.embeddings.position_ids", "I64", {1, 7}),
              CountingTensor("text_model.final_layer_norm.weight", "F32", {6}),
              CountingTensor("text_projection.weight", "F32", {6, 6}),
              CountingTensor("visual_projection.weight", "F32", {6, 8}),
              CountingTensor("vision_model.embeddings.position_ids", "I64", {1, 5})});
  EXPECT_EQ(LoadFolder(main_.path(), tower_.path()), absl::OkStatus());
}

TEST_F(VisionTowerTest, IsNotReadWhenTheCheckpointHasItsOwn) {
  WriteGoodFolder(main_);
  tower_.Write("model.safetensors", "not read");
  EXPECT_EQ(LoadFolder(main_.path(), tower_.path()), absl::OkStatus());
}

TEST_F(VisionTowerTest, IsAskedForWhenNothingNamesIt) {
  EXPECT_THAT(std::string(LoadFolder(main_.path()).message()),
              HasSubstr("class_embedding: expected [8], but the checkpoint lacks it (CLIP's "
                        "weights may be in a folder of their own: --vision-tower)"));
}

TEST_F(VisionTowerTest, IsRefusedWithTensorsThatAreNotClips) {
  WriteTower({CountingTensor("model.norm.weight", "F16", {8})});
  EXPECT_EQ(LoadError(), "vision tower: model.norm.weight: is not a tensor of CLIP");
}

TEST_F(VisionTowerTest, IsRefusedWithoutVisionTensors) {
  tower_.Write("model.safetensors", WriteSafetensors({CountingTensor("logit_scale", "F32", {})}));
  EXPECT_EQ(LoadError(), "vision tower: has no tensor vision_model.*");
}

TEST_F(VisionTowerTest, IsRefusedWithTensorsThatTheModelHasNoPlaceFor) {
  WriteTower({CountingTensor("vision_model.extra", "F16", {8})});
  EXPECT_THAT(LoadError(),
              HasSubstr("tensors: model.vision_tower.vision_tower.vision_model.extra"));
}

TEST_F(VisionTowerTest, IsRefusedWhenItsFileIsBroken) {
  tower_.Write("model.safetensors", "short");
  EXPECT_EQ(LoadError(),
            "vision tower: model.safetensors: has 5 bytes; a safetensors file has at "
            "least 8");
}

TEST_F(VisionTowerTest, IsRefusedWhenItHasNoCheckpoint) {
  EXPECT_THAT(LoadError(), HasSubstr("has neither model.safetensors nor"));
}

}  // namespace
}  // namespace llavamini
