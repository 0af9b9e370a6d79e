#include "kvasir/model/gguf.h"

#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <limits>

#include "kvasir/core/file_testing.h"
#include "kvasir/model/gguf_testing.h"

namespace kvasir {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_gguf::Bytes;

template <typename T>
std::string Raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string RawArray(GgufType element, uint64_t count, std::string_view elements) {
  return Raw(static_cast<uint32_t>(element)) + Raw(count) + std::string(elements);
}

// Opens a copy of exactly these bytes, so that a sanitizer sees any step past the end.
class Opened {
 public:
  explicit Opened(std::string_view bytes)
      : bytes_(Bytes(bytes).begin(), Bytes(bytes).end()),
        file_(GgufFile::FromMemory(bytes_, "memory")) {}
  const Result<GgufFile>& result() const { return file_; }
  std::string error() const { return file_.ok() ? "ok" : file_.status().ToString(); }

 private:
  std::vector<std::byte> bytes_;
  Result<GgufFile> file_;
};

std::string ErrorOf(std::string_view bytes) { return Opened(bytes).error(); }

std::string ErrorWithEntry(GgufType type, std::string_view encoded) {
  GgufWriter writer;
  writer.AddRaw("k", type, encoded);
  return ErrorOf(writer.ToBytes().value());
}

// Two f32 tensors of 8 values and one of q8_0, with metadata of most kinds.
std::string SmallFile() {
  GgufWriter writer;
  writer.AddU32("u32", 7);
  writer.AddString("text", "hello");
  writer.AddStrings("texts", std::vector<std::string>{"", "a", "bc"});
  writer.AddI32s("numbers", std::vector<int32_t>{1, -2, 3});
  writer.AddBool("flag", true);
  const std::vector<float> values = {1, 2, 3, 4, 5, 6, 7, 8};
  writer.AddTensor("one", TensorType::kF32, {8}, std::as_bytes(std::span(values)));
  writer.AddTensor("two", TensorType::kF32, {4, 2}, std::as_bytes(std::span(values)));
  writer.AddTensor("q", TensorType::kQ8_0, {32}, std::vector<std::byte>(34));
  return writer.ToBytes().value();
}

// `bytes` with `value` over what lies `delta` bytes after the first `needle`.
template <typename T>
std::string Patched(std::string bytes, std::string_view needle, size_t delta, T value) {
  const size_t at = bytes.find(needle);
  EXPECT_NE(at, bytes.npos) << needle;
  std::memcpy(bytes.data() + at + delta, &value, sizeof(value));
  return bytes;
}

// Directory entry of "two": name, n_dims u32, dims 2 x u64, type u32, offset u64.
constexpr size_t kDims = 3, kDim0 = 7, kDim1 = 15, kType = 23, kOffset = 27;
const std::string kTwo = Raw(uint64_t{3}) + "two";
template <typename T>
std::string PatchedTensor(size_t field, T value) {
  return Patched(SmallFile(), kTwo, 8 + field, value);
}

TEST(GgufFile, ReadsBackWhatTheWriterWrote) {
  const std::string bytes = SmallFile();
  auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->GetU32("u32").value(), 7u);
  EXPECT_EQ(file->GetString("text").value(), "hello");
  EXPECT_THAT(file->GetStrings("texts").value(), ElementsAre("", "a", "bc"));
  EXPECT_THAT(file->GetI32s("numbers").value(), ElementsAre(1, -2, 3));
  EXPECT_THAT(file->GetF32s("numbers").value(), ElementsAre(1, -2, 3));
  EXPECT_TRUE(file->GetBool("flag").value());
  ASSERT_EQ(file->tensors().size(), 3u);
  const GgufTensor* two = file->FindTensor("two");
  ASSERT_NE(two, nullptr);
  EXPECT_EQ(two->ShapeText(), "[4, 2]");
  const Tensor matrix = two->Matrix();
  EXPECT_EQ(matrix.rows, 2);
  EXPECT_EQ(matrix.cols, 4);
  float second_row[4];
  std::memcpy(second_row, matrix.Rows(1, 1).data, sizeof(second_row));
  EXPECT_THAT(second_row, ElementsAre(5, 6, 7, 8));
  EXPECT_EQ(file->FindTensor("q")->data.size(), 34u);
  EXPECT_EQ(file->FindTensor("three"), nullptr);
}

TEST(GgufFile, IntegersOfAnyWidthConvertWhenTheyFit) {
  GgufWriter writer;
  writer.AddRaw("u8", GgufType::kUint8, Raw(uint8_t{200}));
  writer.AddRaw("i8", GgufType::kInt8, Raw(int8_t{-5}));
  writer.AddRaw("u16", GgufType::kUint16, Raw(uint16_t{60000}));
  writer.AddRaw("i16", GgufType::kInt16, Raw(int16_t{-30000}));
  writer.AddRaw("i32", GgufType::kInt32, Raw(int32_t{1}));
  writer.AddRaw("i64", GgufType::kInt64, Raw(int64_t{1} << 40));
  writer.AddRaw("u64", GgufType::kUint64, Raw(UINT64_MAX));
  writer.AddRaw("f64", GgufType::kFloat64, Raw(2.5));
  writer.AddRaw("huge", GgufType::kFloat64, Raw(1e300));
  writer.AddRaw("u64s", GgufType::kArray,
                RawArray(GgufType::kUint64, 2, Raw(uint64_t{5}) + Raw(uint64_t{1} << 33)));
  const std::string bytes = writer.ToBytes().value();
  auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->GetU32("u8").value(), 200u);
  EXPECT_EQ(file->GetI32("i8").value(), -5);
  EXPECT_EQ(file->GetI32("u16").value(), 60000);
  EXPECT_EQ(file->GetF32("i16").value(), -30000.0f);
  EXPECT_EQ(file->GetU64("i64").value(), uint64_t{1} << 40);
  EXPECT_EQ(file->GetU64("u64").value(), UINT64_MAX);
  EXPECT_EQ(file->GetF32("f64").value(), 2.5f);
  EXPECT_THAT(file->GetU32("i8").status().ToString(),
              AllOf(HasSubstr("'i8'"), HasSubstr("0 to 4294967295"), HasSubstr("found -5")));
  EXPECT_FALSE(file->GetU32("i64").ok());
  EXPECT_FALSE(file->GetI32("u64").ok());
  EXPECT_FALSE(file->GetF32("huge").ok());
  EXPECT_FALSE(file->GetU32("f64").ok());
  EXPECT_FALSE(file->GetBool("u8").ok());
  EXPECT_THAT(file->GetI32s("u64s").status().ToString(), HasSubstr("element 1"));
}

TEST(GgufFile, FallbacksStandInForAbsentKeysOnly) {
  const std::string bytes = SmallFile();
  auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->GetU32("absent", 9).value(), 9u);
  EXPECT_EQ(file->GetString("absent", "x").value(), "x");
  EXPECT_FALSE(file->GetU32("text", 9).ok());
  EXPECT_THAT(file->GetU32("absent").status().ToString(),
              AllOf(HasSubstr("not_found"), HasSubstr("memory: key 'absent' is missing")));
  EXPECT_THAT(file->GetStrings("numbers").status().ToString(), HasSubstr("found array of 3 int32"));
  EXPECT_THAT(file->GetString("u32").status().ToString(),
              HasSubstr("expected string, found uint32"));
}

TEST(GgufFile, EveryTruncationIsAnErrorOrAValidFile) {
  const std::string bytes = SmallFile();
  const size_t last_byte = bytes.size() - (64 - 34);  // the last tensor's padding may be missing
  for (size_t n = 0; n < bytes.size(); ++n) {
    const std::string error = ErrorOf(std::string_view(bytes).substr(0, n));
    EXPECT_EQ(error == "ok", n >= last_byte) << n << ": " << error;
  }
}

TEST(GgufFile, EveryBitFlipIsSurvived) {
  std::string bytes = SmallFile();
  int n_error = 0;
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    const Opened opened(bytes);
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    if (!opened.result().ok()) {
      ++n_error;
      continue;
    }
    for (const GgufEntry& entry : opened.result()->metadata()) {
      static_cast<void>(opened.result()->GetStrings(entry.key).ok());
      static_cast<void>(opened.result()->GetF32s(entry.key).ok());
      static_cast<void>(opened.result()->GetF32(entry.key).ok());
    }
  }
  EXPECT_GT(n_error, 500);
}

TEST(GgufFile, RefusesOtherMagicsAndVersionsByName) {
  const std::string good = SmallFile();
  EXPECT_THAT(ErrorOf("GGML" + good.substr(4)),
              AllOf(HasSubstr("expected 'GGUF'"), HasSubstr("found 'GGML'")));
  EXPECT_THAT(ErrorOf(""), HasSubstr("corruption"));
  EXPECT_EQ(ErrorOf(Patched(good, "GGUF", 4, uint32_t{2})), "ok");
  EXPECT_THAT(ErrorOf(Patched(good, "GGUF", 4, uint32_t{1})),
              AllOf(HasSubstr("unsupported"), HasSubstr("GGUF version 1")));
  EXPECT_THAT(ErrorOf(Patched(good, "GGUF", 4, uint32_t{4})), HasSubstr("GGUF version 4"));
  EXPECT_THAT(ErrorOf(Patched(good, "GGUF", 4, uint32_t{0x03000000})),
              AllOf(HasSubstr("unsupported"), HasSubstr("big-endian GGUF version 3")));
}

TEST(GgufFile, ChecksCountsAgainstTheBytesThatAreThere) {
  const std::string good = SmallFile();
  for (const uint64_t count : {uint64_t{1} << 20, uint64_t{1} << 62, UINT64_MAX}) {
    EXPECT_THAT(ErrorOf(Patched(good, "GGUF", 8, count)), HasSubstr("tensor count"));
    EXPECT_THAT(ErrorOf(Patched(good, "GGUF", 16, count)), HasSubstr("metadata count"));
    EXPECT_THAT(ErrorWithEntry(GgufType::kString, Raw(count)), HasSubstr("key 'k'"));
    for (const GgufType element : {GgufType::kUint8, GgufType::kFloat64, GgufType::kString}) {
      EXPECT_THAT(ErrorWithEntry(GgufType::kArray, RawArray(element, count, "")),
                  AllOf(HasSubstr("key 'k'"), HasSubstr("array length")));
    }
    EXPECT_THAT(ErrorWithEntry(GgufType::kArray, RawArray(GgufType::kString, 1, Raw(count))),
                HasSubstr("string 0 of 1"));
  }
}

TEST(GgufFile, NestedArraysAreReadToAnEnd) {
  std::string nested = RawArray(GgufType::kInt32, 2, Raw(1) + Raw(2));
  for (int depth = 2; depth <= 4; ++depth) {
    nested = RawArray(GgufType::kArray, 1, nested);
    EXPECT_EQ(ErrorWithEntry(GgufType::kArray, nested), "ok") << depth;
  }
  nested = RawArray(GgufType::kArray, 1, nested);
  EXPECT_THAT(ErrorWithEntry(GgufType::kArray, nested), HasSubstr("nested more than 4 deep"));
}

TEST(GgufFile, RefusesBadValues) {
  EXPECT_THAT(ErrorWithEntry(GgufType::kBool, Raw(uint8_t{2})),
              HasSubstr("expected 0 or 1, found 2"));
  EXPECT_THAT(ErrorWithEntry(GgufType::kArray, RawArray(GgufType::kBool, 2, "\1\3")),
              HasSubstr("found 3"));
  EXPECT_THAT(ErrorWithEntry(static_cast<GgufType>(13), Raw(uint64_t{0})), HasSubstr("found 13"));
  EXPECT_THAT(ErrorWithEntry(GgufType::kArray, RawArray(static_cast<GgufType>(99), 0, "")),
              HasSubstr("found 99"));
  GgufWriter twice;
  twice.AddU32("same", 1);
  twice.AddU32("same", 1);
  EXPECT_THAT(ErrorOf(twice.ToBytes().value()), AllOf(HasSubstr("'same'"), HasSubstr("twice")));
  GgufWriter unnamed;
  unnamed.AddU32("", 1);
  EXPECT_THAT(ErrorOf(unnamed.ToBytes().value()), HasSubstr("expected 1 to 65535"));
}

TEST(GgufFile, RefusesAlignmentsThatAreNone) {
  for (const uint32_t alignment : {0u, 1u, 3u, 33u, 0x80000000u}) {
    GgufWriter writer;
    writer.AddU32("general.alignment", alignment);
    EXPECT_THAT(ErrorOf(writer.ToBytes().value()), HasSubstr("power of two")) << alignment;
  }
  GgufWriter text;
  text.AddString("general.alignment", "32");
  EXPECT_THAT(ErrorOf(text.ToBytes().value()), HasSubstr("found string"));
}

TEST(GgufFile, OtherAlignmentsPlaceTensors) {
  for (const uint32_t alignment : {8u, 64u, 4096u}) {
    GgufWriter writer(alignment);
    const std::vector<float> values = {1, 2, 3};
    writer.AddTensor("a", TensorType::kF32, {3}, std::as_bytes(std::span(values)));
    writer.AddTensor("b", TensorType::kF32, {3}, std::as_bytes(std::span(values)));
    const std::string bytes = writer.ToBytes().value();
    auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_EQ(file->FindTensor("b")->offset % alignment, 0u);
    EXPECT_EQ(std::memcmp(file->FindTensor("b")->data.data(), values.data(), 12), 0);
  }
}

TEST(GgufFile, RefusesBadTensors) {
  EXPECT_THAT(ErrorOf(PatchedTensor(kDims, 0u)), HasSubstr("expected 1 to 4 dimensions, found 0"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kDims, 5u)), HasSubstr("found 5"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kDim1, uint64_t{0})), HasSubstr("dimension 1 is 0"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kDim1, uint64_t{1} << 62)), HasSubstr("2^63"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kDim0, uint64_t{1} << 61)), HasSubstr("more than 2^64 bytes"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kType, 16u)),
              AllOf(HasSubstr("unsupported"), HasSubstr("'two'"), HasSubstr("iq2_xxs (id 16)")));
  EXPECT_THAT(ErrorOf(PatchedTensor(kType, 12345u)), HasSubstr("unknown (id 12345)"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kType, 2u)), HasSubstr("q4_0's block of 32"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kOffset, uint64_t{33})),
              HasSubstr("multiple of the alignment"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kOffset, uint64_t{1} << 40)), HasSubstr("'two'"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kOffset, uint64_t{0} - 32)), HasSubstr("data section"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kOffset, uint64_t{0})), HasSubstr("overlaps tensor 'one'"));
  EXPECT_THAT(ErrorOf(PatchedTensor(kDim1, uint64_t{3})), HasSubstr("overlaps"));
  EXPECT_THAT(ErrorOf(Patched(SmallFile(), kTwo, 8, std::array{'o', 'n', 'e'})),
              AllOf(HasSubstr("'one'"), HasSubstr("twice")));
  GgufWriter writer;
  writer.AddTensor(std::string(65, 'n'), TensorType::kF32, {1}, Bytes("abcd"));
  EXPECT_THAT(ErrorOf(writer.ToBytes().value()), HasSubstr("has 65 bytes, expected 1 to 64"));
}

TEST(GgufFile, MessagesShowUnprintableNamesEscaped) {
  EXPECT_EQ(Printable("a\n\x80z"), "a\\x0a\\x80z");
  EXPECT_EQ(Printable(std::string(100, 'x')), std::string(80, 'x') + "...");
}

TEST(GgufFile, LargeVocabulariesAreListedInOrder) {
  GgufWriter writer;
  std::vector<std::string> tokens;
  for (int i = 0; i < 262144; ++i) tokens.push_back(std::to_string(i));
  writer.AddStrings("tokens", tokens);
  const std::string bytes = writer.ToBytes().value();
  auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
  ASSERT_TRUE(file.ok());
  const auto read = file->GetStrings("tokens").value();
  EXPECT_TRUE(std::equal(read.begin(), read.end(), tokens.begin(), tokens.end()));
}

TEST(GgufWriter, NamesATensorWhoseSourceIsShort) {
  GgufWriter writer;
  writer.AddTensor("short", TensorType::kF32, {2}, Bytes("1234"));
  EXPECT_THAT(writer.ToBytes().status().ToString(),
              AllOf(HasSubstr("'short'"), HasSubstr("expected 8 bytes"), HasSubstr("gave 4")));
}

TEST(GgufWriter, LeavesNoTornFileBehind) {
  const TemporaryDirectory directory;
  const std::string path = directory.Path("torn.gguf");
  GgufWriter writer;
  writer.AddTensor("short", TensorType::kF32, {2}, Bytes("1234"));
  EXPECT_FALSE(writer.WriteFile(path).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  EXPECT_EQ(writer.WriteFile("/nonexistent/folder/x.gguf").code(), StatusCode::kIoError);
}

// --- splits ---

class GgufSplit : public testing::Test {
 protected:
  std::string PathOf(int part) const {
    return directory_.Path("m-0000" + std::to_string(part) + "-of-00002.gguf");
  }
  void WritePart(int part, uint32_t number, uint32_t count, uint32_t n_tensor,
                 const std::string& tensor) {
    GgufWriter writer;
    writer.AddRaw("split.no", GgufType::kUint16, Raw(static_cast<uint16_t>(number)));
    writer.AddRaw("split.count", GgufType::kUint16, Raw(static_cast<uint16_t>(count)));
    writer.AddRaw("split.tensors.count", GgufType::kInt32, Raw(n_tensor));
    const std::vector<float> values = {static_cast<float>(part)};
    writer.AddTensor(tensor, TensorType::kF32, {1}, std::as_bytes(std::span(values)));
    ASSERT_TRUE(writer.WriteFile(PathOf(part)).ok());
  }
  std::string Error(int part = 1) const {
    auto file = GgufFile::Open(PathOf(part));
    return file.ok() ? "ok" : file.status().ToString();
  }

  TemporaryDirectory directory_;
};

TEST_F(GgufSplit, OpensAllPartsFromTheFirst) {
  WritePart(1, 0, 2, 2, "a");
  WritePart(2, 1, 2, 2, "b");
  auto file = GgufFile::Open(PathOf(1));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->FindTensor("b")->part, 1);
  float value = 0;
  std::memcpy(&value, file->FindTensor("b")->data.data(), 4);
  EXPECT_EQ(value, 2.0f);
  EXPECT_EQ(file->file_bytes(), std::filesystem::file_size(PathOf(1)) * 2);
}

TEST_F(GgufSplit, NamesAMissingPart) {
  WritePart(1, 0, 2, 2, "a");
  EXPECT_THAT(Error(), AllOf(HasSubstr("not_found"), HasSubstr("m-00002-of-00002.gguf")));
}

TEST_F(GgufSplit, RefusesToStartInTheMiddle) {
  WritePart(1, 0, 2, 2, "a");
  WritePart(2, 1, 2, 2, "b");
  EXPECT_THAT(Error(2), AllOf(HasSubstr("part 2"), HasSubstr("give the first file")));
}

TEST_F(GgufSplit, RefusesPartsThatDoNotBelong) {
  WritePart(1, 0, 2, 2, "a");
  WritePart(2, 0, 2, 2, "b");
  EXPECT_THAT(Error(), HasSubstr("expected split.no 1 of 2, found 0 of 2"));
  WritePart(2, 1, 3, 2, "b");
  EXPECT_THAT(Error(), HasSubstr("found 1 of 3"));
  WritePart(2, 1, 2, 2, "a");
  EXPECT_THAT(Error(), HasSubstr("tensor 'a' is in part 1 and in part 2"));
  WritePart(1, 0, 2, 3, "a");
  WritePart(2, 1, 2, 3, "b");
  EXPECT_THAT(Error(), HasSubstr("split.tensors.count is 3, the 2 parts hold 2"));
  WritePart(1, 0, 3, 2, "a");
  EXPECT_THAT(Error(), HasSubstr("must end with '-00001-of-00003.gguf'"));
}

TEST_F(GgufSplit, NamesThePartThatIsTorn) {
  WritePart(1, 0, 2, 2, "a");
  WritePart(2, 1, 2, 2, "b");
  std::filesystem::resize_file(PathOf(2), 60);
  EXPECT_THAT(Error(), AllOf(HasSubstr("corruption"), HasSubstr("m-00002-of-00002.gguf")));
}

TEST_F(GgufSplit, MemoryIsNotASplit) {
  GgufWriter writer;
  writer.AddU32("split.count", 2);
  EXPECT_THAT(ErrorOf(writer.ToBytes().value()), HasSubstr("split.count is 2"));
}

// --- published files ---

std::string SharedFile(const std::string& name) {
  return std::string(KVASIR_SHARED_DATA) + "/" + name;
}

TEST(GgufFile, ReadsThePublishedStoriesModel) {
  const std::string path = SharedFile("stories260K/stories260K.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->GetString("general.architecture").value(), "llama");
  EXPECT_EQ(file->GetU32("llama.block_count").value(), 5u);
  EXPECT_EQ(file->GetU32("llama.embedding_length").value(), 64u);
  EXPECT_EQ(file->GetStrings("tokenizer.ggml.tokens")->size(), 512u);
  ASSERT_EQ(file->tensors().size(), 48u);
  EXPECT_EQ(file->FindTensor("token_embd.weight")->ShapeText(), "[64, 512]");
}

// The original checkpoint is a header of seven int32 and then the embeddings.
TEST(GgufFile, TensorBytesEqualTheOriginalCheckpoint) {
  const std::string path = SharedFile("stories260K/stories260K.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok());
  auto original = ReadFile(SharedFile("stories260K/stories260K.bin"));
  ASSERT_TRUE(original.ok());
  const auto embeddings = file->FindTensor("token_embd.weight")->data;
  EXPECT_EQ(std::memcmp(embeddings.data(), original->data() + 28, embeddings.size()), 0);
}

TEST(GgufFile, ReadsEveryPublishedVocabulary) {
  const std::string folder = SharedFile("tokenizers");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    auto file = GgufFile::Open(entry.path());
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_GE(file->GetStrings("tokenizer.ggml.tokens")->size(), 32000u);
    EXPECT_EQ(file->GetStrings("tokenizer.ggml.tokens")->size(),
              file->GetI32s("tokenizer.ggml.token_type")->size());
  }
}

}  // namespace
}  // namespace kvasir
