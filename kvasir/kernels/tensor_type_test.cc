#include "kvasir/kernels/tensor_type.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace kvasir {
namespace {

// Bits per weight as published with ggml's formats; scales and minima included.
TEST(TensorType, BlocksGiveThePublishedBitsPerWeight) {
  const struct {
    uint32_t id;
    const char* name;
    double bits;
  } kPublished[] = {{0, "f32", 32},    {1, "f16", 16},       {2, "q4_0", 4.5}, {3, "q4_1", 5},
                    {6, "q5_0", 5.5},  {7, "q5_1", 6},       {8, "q8_0", 8.5}, {12, "q4_k", 4.5},
                    {13, "q5_k", 5.5}, {14, "q6_k", 6.5625}, {30, "bf16", 16}};
  for (const auto& p : kPublished) {
    const TensorTypeInfo* info = FindTensorType(p.id);
    ASSERT_NE(info, nullptr) << p.name;
    EXPECT_EQ(info->name, p.name);
    EXPECT_EQ(static_cast<uint32_t>(info->type), p.id);
    EXPECT_EQ(8.0 * info->block_bytes / info->block_elements, p.bits) << p.name;
    EXPECT_EQ(RowBytes(info->type, 512) * 8.0, p.bits * 512) << p.name;
    EXPECT_EQ(&InfoOf(info->type), info);
  }
}

TEST(TensorType, NamesAreFoundInAnyLetterCase) {
  EXPECT_EQ(FindTensorType("Q4_K")->type, TensorType::kQ4_K);
  EXPECT_EQ(FindTensorType("q4_k")->type, TensorType::kQ4_K);
  EXPECT_EQ(FindTensorType("BF16")->type, TensorType::kBF16);
  EXPECT_EQ(FindTensorType("q4"), nullptr);
  EXPECT_EQ(FindTensorType(""), nullptr);
}

TEST(TensorType, UnreadableTypesStillHaveNames) {
  EXPECT_EQ(FindTensorType(16u), nullptr);
  EXPECT_EQ(GgmlTypeName(16), "iq2_xxs");
  EXPECT_EQ(GgmlTypeName(24), "i8");
  EXPECT_EQ(GgmlTypeName(39), "mxfp4");
  EXPECT_EQ(GgmlTypeName(42), "q2_0");
  EXPECT_EQ(GgmlTypeName(43), "unknown");
  EXPECT_EQ(GgmlTypeName(UINT32_MAX), "unknown");
}

TEST(TensorType, TheTwoTablesAgreeAndNamesAreDistinct) {
  std::set<std::string> names;
  for (uint32_t id = 0; id <= 42; ++id) {
    EXPECT_TRUE(names.emplace(GgmlTypeName(id)).second) << id;
    const TensorTypeInfo* info = FindTensorType(id);
    if (info != nullptr) {
      EXPECT_EQ(info->name, GgmlTypeName(id));
    }
  }
}

}  // namespace
}  // namespace kvasir
