#include "kvasir/model/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstring>
#include <random>
#include <string>

#include "kvasir/core/file_testing.h"
#include "kvasir/core/join.h"

namespace kvasir {
namespace {

using testing::HasSubstr;

// A file out of a header and `n_data` bytes 0, 1, 2, ...
std::string File(const std::string& header, size_t n_data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  for (size_t i = 0; i < n_data; ++i) bytes += static_cast<char>(i);
  return bytes;
}

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  uint64_t begin, uint64_t end) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", name, dtype,
                     shape, begin, end);
}

std::string Header(const std::vector<std::string>& entries) {
  return fmt::format("{{{}}}", Join(entries, ","));
}

Result<Safetensors> Read(const std::string& bytes) {
  return Safetensors::FromMemory(std::as_bytes(std::span(bytes)), "m");
}

void ExpectRefused(const std::string& bytes, StatusCode code, const std::string& message) {
  const auto file = Read(bytes);
  ASSERT_FALSE(file.ok()) << "expected: " << message;
  EXPECT_EQ(file.status().code(), code) << file.status().ToString();
  EXPECT_THAT(file.status().message(), HasSubstr(message));
}

// F32 a(2,3), BF16 b(5), F16 scalar c; 24 + 10 + 2 bytes of data.
std::string SmallFile() {
  return File(Header({Entry("b", "BF16", "[5]", 24, 34), R"("__metadata__":{"format":"pt"})",
                      Entry("a", "F32", "[2, 3]", 0, 24), Entry("c", "F16", "[]", 34, 36)}),
              36);
}

TEST(Safetensors, HandsOutTypeShapeAndBytesOfEachTensor) {
  const std::string bytes = SmallFile();
  const auto file = Read(bytes);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->entries().size(), 3u);
  EXPECT_EQ(file->data_bytes(), 36u);
  const SafetensorsEntry* a = file->Find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->type, TensorType::kF32);
  EXPECT_EQ(a->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(a->ShapeText(), "[2, 3]");
  EXPECT_EQ(a->data.size(), 24u);
  EXPECT_EQ(a->data[0], std::byte{0});
  EXPECT_EQ(a->offset, bytes.size() - 36);
  const SafetensorsEntry* b = file->Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->type, TensorType::kBF16);
  EXPECT_EQ(b->data.front(), std::byte{24});
  EXPECT_EQ(file->Find("c")->type, TensorType::kF16);
  EXPECT_TRUE(file->Find("c")->shape.empty());
  EXPECT_EQ(file->Find("__metadata__"), nullptr);
  EXPECT_EQ(file->Find("d"), nullptr);
}

TEST(Safetensors, AcceptsAnEmptyHeaderAndTensorsWithoutElements) {
  EXPECT_TRUE(Read(File("{}", 0)).ok());
  EXPECT_TRUE(Read(File("{}      ", 0)).ok());
  EXPECT_TRUE(
      Read(File(Header({Entry("a", "F32", "[0, 7]", 0, 0), Entry("b", "F32", "[1]", 0, 4)}), 4))
          .ok());
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string bytes = SmallFile();
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto file = Read(bytes.substr(0, n));
    ASSERT_FALSE(file.ok()) << n;
    EXPECT_EQ(file.status().code(), StatusCode::kCorruption) << n;
  }
  EXPECT_FALSE(Read(bytes + "x").ok());
}

TEST(Safetensors, SurvivesEveryBitFlipAndStaysWithinTheFile) {
  const std::string bytes = SmallFile();
  size_t refused = 0;
  for (size_t bit = 0; bit < (bytes.size() - 36) * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const auto file = Read(flipped);
    if (!file.ok()) {
      ++refused;
      EXPECT_FALSE(file.status().message().empty());
      continue;
    }
    for (const auto& [name, entry] : file->entries()) {
      const std::byte* begin = std::as_bytes(std::span(flipped)).data();
      EXPECT_GE(entry.data.data(), begin) << name;
      EXPECT_LE(entry.data.data() + entry.data.size(), begin + flipped.size()) << name;
    }
  }
  // What passes changes a name, or text inside __metadata__.
  EXPECT_GT(refused, (bytes.size() - 36) * 8 / 2);
}

TEST(Safetensors, RefusesHeaderLengthsBeyondTheCapOrTheFile) {
  std::string bytes = SmallFile();
  const uint64_t huge = kMaxSafetensorsHeader + 1;
  std::memcpy(bytes.data(), &huge, 8);
  ExpectRefused(bytes, StatusCode::kCorruption, "at most 100000000 bytes, found a length of 1000");
  const uint64_t beyond = bytes.size() - 7;
  std::memcpy(bytes.data(), &beyond, 8);
  ExpectRefused(bytes, StatusCode::kCorruption, "ends within the file");
  const uint64_t all = UINT64_MAX;
  std::memcpy(bytes.data(), &all, 8);
  ExpectRefused(bytes, StatusCode::kCorruption, "18446744073709551615");
  ExpectRefused("abc", StatusCode::kCorruption, "a file of 3 bytes");
}

TEST(Safetensors, NamesTheTensorAndItsDtype) {
  for (const std::string dtype : {"F64", "I64", "U8", "F8_E4M3", "BOOL", "f32", ""}) {
    ExpectRefused(File(Header({Entry("x.y", dtype, "[1]", 0, 4)}), 4), StatusCode::kUnsupported,
                  "m: tensor x.y: dtype " + dtype + ": expected F32, F16 or BF16");
  }
}

TEST(Safetensors, RefusesOffsetsThatContradictShapeOrFile) {
  const auto one = [](const std::string& shape, uint64_t begin, uint64_t end, size_t n) {
    return File(Header({Entry("t", "F32", shape, begin, end)}), n);
  };
  ExpectRefused(one("[2]", 0, 4, 4), StatusCode::kCorruption, "expected 8 bytes for F32");
  ExpectRefused(one("[2]", 0, 8, 4), StatusCode::kCorruption, "within 4 bytes of data");
  ExpectRefused(one("[1]", 8, 4, 8), StatusCode::kCorruption, "found [8, 4]");
  ExpectRefused(one("[1]", 4, 8, 8), StatusCode::kCorruption, "begin at byte 0");
  ExpectRefused(one("[1]", 0, 4, 8), StatusCode::kCorruption, "expected 4 bytes of data");
  ExpectRefused(one("[1]", 18446744073709551612u, 18446744073709551615u, 8),
                StatusCode::kCorruption, "within 8 bytes");
}

TEST(Safetensors, RefusesShapesThatOverflow) {
  for (const std::string shape :
       {"[4611686018427387904]", "[2147483648, 2147483648, 4]", "[9223372036854775808]",
        "[18446744073709551615, 18446744073709551615]", "[4294967296, 4294967296, 0]"}) {
    ExpectRefused(File(Header({Entry("t", "F32", shape, 0, 0)}), 0), StatusCode::kCorruption,
                  "overflows 64 bits");
  }
  ExpectRefused(File(Header({Entry("t", "F32", "[1,1,1,1,1,1,1,1,1]", 0, 4)}), 4),
                StatusCode::kCorruption, "tensor t: shape: expected at most 8 numbers");
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  const auto two = [](uint64_t begin, uint64_t end, size_t n) {
    return File(Header({Entry("p", "F32", "[2]", 0, 8), Entry("q", "F32", "[2]", begin, end)}), n);
  };
  ASSERT_TRUE(Read(two(8, 16, 16)).ok());
  ExpectRefused(two(4, 12, 12), StatusCode::kCorruption,
                "tensor q: expected data_offsets to begin at byte 8");
  ExpectRefused(two(0, 8, 8), StatusCode::kCorruption, "begin at byte 8");
  ExpectRefused(two(12, 20, 20), StatusCode::kCorruption, "found 12");
}

TEST(Safetensors, RefusesDuplicateNamesAndFields) {
  ExpectRefused(File(Header({Entry("a", "F32", "[1]", 0, 4), Entry("a", "F32", "[1]", 4, 8)}), 8),
                StatusCode::kCorruption, "tensor a: listed twice");
  ExpectRefused(File(R"({"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4),
                StatusCode::kCorruption, "tensor a: dtype: given twice");
}

TEST(Safetensors, NamesFieldsOfTheWrongForm) {
  const struct {
    std::string header, message;
  } kCases[] = {
      {R"([])", "header: expected an object"},
      {R"(7)", "header: expected an object, found 7"},
      {R"({"a":1})", "tensor a: expected an object with dtype, shape and data_offsets, found 1"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", "tensor a: no data_offsets"},
      {R"({"a":{}})", "tensor a: no dtype"},
      {R"({"a":{"dtype":4}})", "tensor a: dtype: expected a string, found 4"},
      {R"({"a":{"dtype":["F32"]}})", "tensor a: dtype: expected"},
      {R"({"a":{"shape":"1"}})", "tensor a: shape: expected an array"},
      {R"({"a":{"shape":[-1]}})", "tensor a: shape: expected an unsigned integer, found -1"},
      {R"({"a":{"shape":[1.5]}})", "tensor a: shape: expected an unsigned integer, found 1.5"},
      {R"({"a":{"shape":[[1]]}})", "tensor a: shape: expected"},
      {R"({"a":{"shape":{"b":1}}})", "tensor a: shape: expected"},
      {R"({"a":{"shape":[1e400]}})", "header"},
      {R"({"a":{"data_offsets":[0]}})", "tensor a: data_offsets: expected 2 numbers, found 1"},
      {R"({"a":{"data_offsets":[0,1,2]}})", "expected 2 numbers, found 3"},
      {R"({"a":{"extra":1}})", "tensor a: unknown field \"extra\""},
      {R"({"a":)", "not valid JSON at byte"},
      {"{\"a\xff\":{}}", "not valid JSON at byte"},
      {"", "not valid JSON at byte"},
  };
  for (const auto& c : kCases) ExpectRefused(File(c.header, 4), StatusCode::kCorruption, c.message);
}

TEST(Safetensors, CapsTheNestingOfTheHeader) {
  const auto nested = [](int depth) {
    return File(R"({"__metadata__":{"x":)" + std::string(static_cast<size_t>(depth), '[') +
                    std::string(static_cast<size_t>(depth), ']') + "}}",
                0);
  };
  EXPECT_TRUE(Read(nested(5)).ok());
  ExpectRefused(nested(100000), StatusCode::kCorruption, "nested deeper than 16 levels");
}

// A folder of its own for each test.
class SafetensorsFolder : public testing::Test {
 protected:
  void Write(const std::string& name, const std::string& bytes) { directory_.Write(name, bytes); }
  void WriteIndex(const std::string& weight_map) {
    Write("model.safetensors.index.json", R"({"metadata":{},"weight_map":)" + weight_map + "}");
  }
  static std::string Shard(const std::string& tensor) {
    return File(Header({Entry(tensor, "F32", "[1]", 0, 4)}), 4);
  }
  void ExpectRefused(StatusCode code, const std::string& message) {
    const auto file = Safetensors::OpenFolder(folder_);
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.status().code(), code) << file.status().ToString();
    EXPECT_THAT(file.status().message(), HasSubstr(message));
  }

  TemporaryDirectory directory_;
  std::string folder_ = directory_.path();
};

TEST_F(SafetensorsFolder, PrefersTheSingleFile) {
  Write("model.safetensors", Shard("a"));
  WriteIndex("{}");
  const auto file = Safetensors::OpenFolder(folder_);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_NE(file->Find("a"), nullptr);
  EXPECT_EQ(file->files().size(), 1u);
}

TEST_F(SafetensorsFolder, JoinsTheShardsOfTheIndex) {
  Write("one", Shard("a"));
  Write("two", Shard("b"));
  WriteIndex(R"({"b":"two","a":"one"})");
  const auto file = Safetensors::OpenFolder(folder_);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  ASSERT_NE(file->Find("b"), nullptr);
  EXPECT_EQ(file->paths()[static_cast<size_t>(file->Find("b")->shard)], folder_ + "/two");
  EXPECT_EQ(file->data_bytes(), 8u);
}

TEST_F(SafetensorsFolder, NamesWhatIsMissing) {
  ExpectRefused(StatusCode::kNotFound, "no model.safetensors and no model.safetensors.index.json");
  Write("one", Shard("a"));
  WriteIndex(R"({"a":"one","b":"two"})");
  ExpectRefused(StatusCode::kNotFound, "/two: cannot open");
  WriteIndex(R"({"a":"one","b":"one"})");
  ExpectRefused(StatusCode::kCorruption, "tensor b: expected in");
}

TEST_F(SafetensorsFolder, RefusesATensorInTwoShards) {
  Write("one", Shard("a"));
  Write("two", Shard("a"));
  WriteIndex(R"({"a":"one","b":"two"})");
  ExpectRefused(StatusCode::kCorruption, "/two: tensor a: already in " + folder_ + "/one");
}

TEST_F(SafetensorsFolder, RefusesShardsOutsideTheFolder) {
  for (const std::string name : {"../x", "/etc/passwd", "..", "", "a/b", "a\\\\b"}) {
    WriteIndex(R"({"a":")" + name + R"("})");
    ExpectRefused(StatusCode::kCorruption, "tensor a: expected the name of a file");
  }
  WriteIndex(R"({"a":1})");
  ExpectRefused(StatusCode::kCorruption, "tensor a: expected the name of a file");
  Write("model.safetensors.index.json", R"({"weight_map":[]})");
  ExpectRefused(StatusCode::kCorruption, "weight_map: expected an object");
  Write("model.safetensors.index.json", std::string(100000, '['));
  ExpectRefused(StatusCode::kCorruption, "at most 64 levels");
}

}  // namespace
}  // namespace kvasir
