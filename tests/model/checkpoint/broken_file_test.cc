// Checkpoint folders whose model.safetensors is malformed, and odd files that are not: each is
// loaded as a model would.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/model/checkpoint/checkpoint_folder.h"

namespace llavamini {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string OneTensor(const std::string& entry, size_t bytes) {
  return WithHeader("{\"t\":" + entry + "}", std::string(bytes, '\1'));
}

std::string TwoTensors(const std::string& first_offsets, const std::string& second_offsets,
                       size_t bytes) {
  const std::string start = R"({"dtype":"U8","shape":[4],"data_offsets":)";
  return WithHeader(
      R"({"first":)" + start + first_offsets + R"(},"second":)" + start + second_offsets + "}}",
      std::string(bytes, '\1'));
}

std::string Nested(size_t depth) {
  return "{\"t\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
}

std::string WithoutLastByte(std::string file) {
  file.pop_back();
  return file;
}

struct BrokenFile {
  const char* name;
  std::string content;  // of model.safetensors
  const char* expected;
};

const std::vector<BrokenFile>& BrokenFiles() {
  static const std::vector<BrokenFile> kFiles = {
      {"Empty", "", "model.safetensors: has 0 bytes; a safetensors file has at least 8"},
      {"OneByte", "\1", "has 1 bytes"},
      {"TwoBytes", "\1\1", "has 2 bytes"},
      {"ThreeBytes", "\1\1\1", "has 3 bytes"},
      {"FourBytes", "\1\1\1\1", "has 4 bytes"},
      {"FiveBytes", "\1\1\1\1\1", "has 5 bytes"},
      {"SixBytes", "\1\1\1\1\1\1", "has 6 bytes"},
      {"SevenBytes", "\1\1\1\1\1\1\1", "has 7 bytes"},
      {"NoHeader", LengthPrefix(0), "header: does not start with {"},
      {"HeaderOneByteTooLong", LengthPrefix(3) + "{}", "header length 3, but only 2 bytes follow"},
      {"HeaderOverTheLimit", LengthPrefix(100'000'001) + "{}",
       "header length 100000001, allowed are at most 100000000"},
      {"HeaderLengthOfAllOnes", LengthPrefix(~uint64_t{0}) + "{}",
       "header length 18446744073709551615, allowed"},
      {"HeaderIsNotJson", WithHeader("{nonsense}", ""), "header: is not valid JSON (byte "},
      {"HeaderIsCut", WithHeader(R"({"t":{"dtype":"F32")", ""), "header: is not valid JSON"},
      {"HeaderIsList", WithHeader("[]", ""), "header: does not start with {"},
      {"HeaderStartsWithSpace", WithHeader(" {}", ""), "header: does not start with {"},
      {"HeaderHasText", WithHeader("{} and more", ""), "header: is not valid JSON"},
      {"HeaderEndsInNul", WithHeader(std::string("{}\0\0", 4), ""), "not valid JSON (byte 3)"},
      {"HeaderIsNotUtf8", WithHeader("{\"\xff\xfe\":1}", ""), "header: is not valid JSON"},
      {"HeaderHasHugeNumber", WithHeader(R"({"t":1e999})", ""), "header: is not valid JSON"},
      {"HeaderIsNestedDeeply", WithHeader(Nested(100'000), ""), "header: is nested deeper than 32"},
      {"NameTwice",
       WithHeader(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                  "ab"),
       "header: the name \"t\" occurs twice"},
      {"KeyTwice", OneTensor(R"({"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]})", 1),
       "the name \"dtype\" occurs twice"},
      {"TensorIsNotObject", OneTensor("7", 0), "t: is 7; it must be an object"},
      {"TensorHasUnknownKey",
       OneTensor(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"stride":1})", 1),
       "t: has the unknown key \"stride\""},
      {"DtypeMissing", OneTensor(R"({"shape":[1],"data_offsets":[0,1]})", 1),
       "t: dtype is missing"},
      {"DtypeUnknown", OneTensor(R"({"dtype":"F12","shape":[1],"data_offsets":[0,1]})", 1),
       "t: dtype is \"F12\", which is unknown"},
      {"DtypeIsNumber", OneTensor(R"({"dtype":16,"shape":[1],"data_offsets":[0,1]})", 1),
       "t: dtype is 16, which is unknown"},
      {"ShapeMissing", OneTensor(R"({"dtype":"U8","data_offsets":[0,1]})", 1),
       "t: shape is missing"},
      {"ShapeIsNumber", OneTensor(R"({"dtype":"U8","shape":1,"data_offsets":[0,1]})", 1),
       "t: shape is 1; it must be a list"},
      {"ShapeTooDeep",
       OneTensor(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],)"
                 R"("data_offsets":[0,1]})",
                 1),
       "t: shape is a list of 17; it must be a list of at most 16"},
      {"SizeNegative", OneTensor(R"({"dtype":"U8","shape":[-1],"data_offsets":[0,1]})", 1),
       "t: shape has -1"},
      {"SizeFraction", OneTensor(R"({"dtype":"U8","shape":[1.0],"data_offsets":[0,1]})", 1),
       "t: shape has 1.0"},
      {"SizeText", OneTensor(R"({"dtype":"U8","shape":["1"],"data_offsets":[0,1]})", 1),
       "t: shape has \"1\""},
      {"SizeAboveInt64",
       OneTensor(R"({"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]})", 1),
       "t: shape has 9223372036854775808"},
      {"ElementsOverflow",
       OneTensor(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0),
       "t: shape overflows: it has more than 2^63 - 1 elements"},
      {"BytesOverflow",
       OneTensor(R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]})", 0),
       "t: shape overflows: it has more than 2^63 - 1 bytes"},
      {"OffsetsMissing", OneTensor(R"({"dtype":"U8","shape":[1]})", 1),
       "t: data_offsets is missing"},
      {"OffsetsAreThree", OneTensor(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1,2]})", 2),
       "t: data_offsets must be two integers"},
      {"OffsetsAreText", OneTensor(R"({"dtype":"U8","shape":[1],"data_offsets":["0","1"]})", 1),
       "t: data_offsets must be two integers"},
      {"OffsetsNegative", OneTensor(R"({"dtype":"U8","shape":[1],"data_offsets":[-1,0]})", 1),
       "t: data_offsets must be two integers"},
      {"OffsetsReversed", OneTensor(R"({"dtype":"U8","shape":[1],"data_offsets":[1,0]})", 1),
       "t: data_offsets [1, 0] are reversed"},
      {"OffsetsOutsideTheFile", OneTensor(R"({"dtype":"U8","shape":[2],"data_offsets":[0,2]})", 1),
       "t: data_offsets [0, 2] are outside the file's 1 bytes"},
      {"OffsetsFarOutside",
       OneTensor(R"({"dtype":"U8","shape":[1],)"
                 R"("data_offsets":[9223372036854775806,9223372036854775807]})",
                 1),
       "are outside the file's 1 bytes"},
      {"FileIsCut", WithoutLastByte(WriteSafetensors(GoodTensors())), "are outside the file's"},
      {"FewerBytesThanTheShape",
       OneTensor(R"({"dtype":"F32","shape":[2,3],"data_offsets":[0,20]})", 20),
       "t: F32 [2, 3] takes 24 bytes, its data_offsets hold 20"},
      {"MoreBytesThanTheShape", OneTensor(R"({"dtype":"F16","shape":[],"data_offsets":[0,4]})", 4),
       "t: F16 [] takes 2 bytes, its data_offsets hold 4"},
      {"Overlapping", TwoTensors("[0,4]", "[3,7]", 7), "second: overlaps first"},
      {"SamePlace", TwoTensors("[0,4]", "[0,4]", 4), "overlaps"},
      {"HoleAtTheStart", TwoTensors("[1,5]", "[5,9]", 9), "data bytes 0 to 1 belong to no tensor"},
      {"HoleBetween", TwoTensors("[0,4]", "[6,10]", 10), "data bytes 4 to 6 belong to no tensor"},
      {"HoleAtTheEnd", TwoTensors("[4,8]", "[0,4]", 9), "data bytes 8 to 9 belong to no tensor"},
      {"MetadataIsList", WithHeader(R"({"__metadata__":[]})", ""),
       "__metadata__ must be an object of strings"},
      {"MetadataHasNumber", WithHeader(R"({"__metadata__":{"format":1}})", ""),
       "__metadata__ must be an object of strings"},
      {"NameWithNewline", WithHeader(R"({"a\nb":7})", ""), "a\\nb: is 7"},
      {"NoTensors", WithHeader("{}", ""), "the checkpoint lacks it"},
  };
  return kFiles;
}

class BrokenFileTest : public testing::TestWithParam<BrokenFile> {};

TEST_P(BrokenFileTest, IsRefusedInOneLine) {
  const TemporaryFolder folder;
  WriteGoodFolder(folder);
  ASSERT_EQ(LoadFolder(folder.path()), absl::OkStatus());
  folder.Write("model.safetensors", GetParam().content);
  const absl::Status status = LoadFolder(folder.path());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr(GetParam().expected));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
}

INSTANTIATE_TEST_SUITE_P(Checkpoint, BrokenFileTest, testing::ValuesIn(BrokenFiles()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace llavamini
