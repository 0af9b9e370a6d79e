#include "kvasir/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace kvasir {
namespace {

Result<int> Half(int x) {
  if (x % 2 != 0) return Status::InvalidArgument("odd");
  return x / 2;
}

Result<int> Quarter(int x) {
  KVASIR_ASSIGN_OR_RETURN(const int half, Half(x));
  return Half(half);
}

TEST(Status, CarriesCodeAndMessage) {
  EXPECT_EQ(Status::Ok().ToString(), "ok");
  EXPECT_EQ(Status::Corruption("bad magic").ToString(), "corruption: bad magic");
  EXPECT_EQ(Status::Corruption("bad magic").WithContext("a.gguf").message(), "a.gguf: bad magic");
  EXPECT_TRUE(Status::Ok().WithContext("a.gguf").ok());
}

TEST(Result, PassesValuesAndErrorsThrough) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  Result<std::unique_ptr<int>> owned = std::make_unique<int>(7);
  EXPECT_EQ(*std::move(owned).value(), 7);
}

}  // namespace
}  // namespace kvasir
