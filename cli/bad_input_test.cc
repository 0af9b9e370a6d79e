// Files, prompts and flags that are wrong, through the built program: one line on stderr that names
// the place, an exit code other than 0, and no memory taken on a file's word.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cli/program_testing.h"
#include "kvasir/model/gguf_testing.h"
#include "kvasir/policy/head_table.h"

namespace kvasir::cli {
namespace {

using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using testing_gguf::Rewrite;
using testing_gguf::TinyModel;

constexpr size_t kAddressSpace = size_t{512} << 20;

ProgramResult RunModel(const std::string& path, std::vector<std::string> more = {}) {
  std::vector<std::string> args = {"run", "-m", path, "-p", "ab", "-n", "2", "-t", "1", "-s", "1"};
  args.insert(args.end(), more.begin(), more.end());
  return RunProgram(args, "", {.address_space = kAddressSpace});
}

void ExpectOneLine(const ProgramResult& result, const std::vector<std::string>& parts) {
  EXPECT_THAT(result.exit_code, AnyOf(1, 2)) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_THAT(result.err, StartsWith("kvasir: "));
  EXPECT_LT(result.err.size(), 600u) << result.err;
  for (const std::string& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
}

template <typename T>
std::string Patched(std::string bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof(value));
  return bytes;
}

// Where the value of a key begins: past its name and its type.
size_t ValueOf(const std::string& bytes, std::string_view key) {
  return bytes.find(key) + key.size() + 4;
}

// Where the record of a tensor goes on after its name: dimensions, type, offset.
size_t AfterName(const std::string& bytes, std::string_view tensor) {
  return bytes.find(tensor) + tensor.size();
}

class BadInput : public ::testing::Test {
 protected:
  // `bytes` as a model, refused with one line that holds the file's name and `parts`.
  void ExpectRefused(const std::string& bytes, std::vector<std::string> parts) {
    const std::string path = directory_.Write("m.gguf", bytes);
    parts.push_back(path);
    SCOPED_TRACE(parts.front());
    ExpectOneLine(RunModel(path), parts);
  }

  TemporaryDirectory directory_;
  const std::string gguf_ = TinyModel("tiny-llama");
};

TEST_F(BadInput, ATruncatedGgufIsRefusedWhereverItEnds) {
  for (const double share : {0.0, 1e-5, 0.001, 0.02, 0.1, 0.5, 0.999}) {
    const auto n = static_cast<size_t>(share * static_cast<double>(gguf_.size()));
    ExpectRefused(gguf_.substr(0, n), {"byte "});
  }
}

TEST_F(BadInput, ADamagedGgufHeaderIsNamed) {
  const uint64_t huge = uint64_t{1} << 62;
  const size_t tokens = ValueOf(gguf_, "tokenizer.ggml.tokens");
  const size_t blocks = ValueOf(gguf_, "llama.block_count");
  ExpectRefused("GGUX" + gguf_.substr(4), {"byte 0", "expected 'GGUF'", "found 'GGUX'"});
  ExpectRefused(Patched(gguf_, 4, uint32_t{9}), {"byte 4", "version 9"});
  ExpectRefused(Patched(gguf_, 8, huge), {"byte 8", "tensor count", std::to_string(huge)});
  ExpectRefused(Patched(gguf_, 16, huge), {"byte 16", "metadata count", std::to_string(huge)});
  ExpectRefused(Patched(gguf_, tokens + 4, huge), {"tokenizer.ggml.tokens", "array length"});
  ExpectRefused(Patched(gguf_, tokens - 4, uint32_t{77}), {"tokenizer.ggml.tokens", "found 77"});
  ExpectRefused(Patched(gguf_, blocks, uint32_t{1} << 30), {"llama.block_count", "1073741824"});
}

TEST_F(BadInput, ADamagedGgufTensorIsNamed) {
  const std::string name = "blk.1.attn_q.weight";
  const size_t at = AfterName(gguf_, name);  // u32 2, u64 64, u64 64, u32 type, u64 offset
  ExpectRefused(Patched(gguf_, at + 20, uint32_t{99}), {name, "id 99"});
  ExpectRefused(Patched(gguf_, at + 20, uint32_t{20}), {name, "iq4_nl"});
  ExpectRefused(Patched(gguf_, at + 24, uint64_t{0}), {name, "overlaps"});
  ExpectRefused(Patched(gguf_, at + 24, uint64_t{7}), {name, "multiple of the alignment"});
  ExpectRefused(Patched(gguf_, at + 24, ~uint64_t{31}), {name, "of the data section"});
  ExpectRefused(Patched(Patched(gguf_, at + 4, uint64_t{32}), at + 12, uint64_t{128}),
                {name, "expected shape [64, 64], found [32, 128]"});
  ExpectRefused(Rewrite(gguf_, {.drop_tensors = {name}}), {name, "is missing"});
}

TEST_F(BadInput, WhatTheBuildDoesNotDoIsNamed) {
  const auto with = [&](std::string_view key, std::string_view value) {
    return Rewrite(gguf_, {.drop_keys = {key},
                           .add = [=](GgufWriter& writer) { writer.AddString(key, value); }});
  };
  ExpectRefused(with("general.architecture", "mamba"),
                {"general.architecture", "'mamba'", "qwen3"});
  ExpectRefused(with("tokenizer.ggml.pre", "klingon"), {"tokenizer", "klingon"});
  ExpectRefused(with("tokenizer.ggml.model", "bert"), {"tokenizer.ggml.model", "bert"});
}

TEST_F(BadInput, BitFlipsEndInAnAnswerOrInOneLine) {
  std::mt19937 rng(7);
  for (int round = 0; round < 60; ++round) {
    std::string bytes = gguf_;
    for (int flip = 0; flip < 3; ++flip) bytes[rng() % 16384] ^= static_cast<char>(1 << rng() % 8);
    const ProgramResult result = RunModel(directory_.Write("flipped.gguf", bytes));
    if (result.exit_code != 0) ExpectOneLine(result, {});
  }
}

class BadFolder : public BadInput {
 protected:
  // One file of a copy of a fixture replaced by `change` of it.
  template <typename Change>
  void ExpectRefusedFile(const std::string& name, Change change,
                         const std::vector<std::string>& parts) {
    SCOPED_TRACE(parts.front());
    const TemporaryDirectory directory;
    const std::string folder = directory.CopyOf(KVASIR_SOURCE_DIR "/tests/fixtures/models/llama");
    const std::string bytes = change(ReadText(folder + "/" + name));
    std::ofstream(folder + "/" + name, std::ios::binary) << bytes;
    ExpectOneLine(RunModel(folder), parts);
  }
  static auto Replace(std::string from, std::string to) {
    return [=](std::string text) {
      const size_t at = text.find(from);
      EXPECT_NE(at, std::string::npos) << from;
      return text.replace(at, from.size(), to);
    };
  }
};

TEST_F(BadFolder, ADamagedSafetensorsFileIsNamed) {
  const std::string file = "model.safetensors";
  const auto cut = [](size_t n) { return [n](std::string bytes) { return bytes.substr(0, n); }; };
  const auto length = [](uint64_t n) {
    return [n](std::string bytes) { return Patched(bytes, 0, n); };
  };
  for (const size_t n : {0, 4, 8, 100, 5000}) ExpectRefusedFile(file, cut(n), {file});
  ExpectRefusedFile(file, length(0), {file, "not valid JSON"});
  for (const uint64_t n : {uint64_t{1} << 40, ~uint64_t{0}}) {
    ExpectRefusedFile(file, length(n), {file, "byte 0"});
  }
  ExpectRefusedFile(file, Replace("{\"", "<\""), {file, "not valid JSON at byte"});
  ExpectRefusedFile(file, Replace("\"F32\"", "\"F99\""), {file, "F99"});
  ExpectRefusedFile(file, Replace("model.norm.weight", "model.nork.weight"), {"model.nor"});
}

TEST_F(BadFolder, ADamagedJsonFileIsNamed) {
  ExpectRefusedFile("config.json", Replace("\"LlamaForCausalLM\"", "\"MambaForCausalLM\""),
                    {"config.json", "MambaForCausalLM"});
  ExpectRefusedFile("config.json", Replace("\"hidden_size\": 32", "\"hidden_size\": 48"),
                    {"expected", "48"});
  ExpectRefusedFile("config.json", Replace("\"hidden_size\": 32", "\"hidden_size\": 1e99"),
                    {"config.json", "hidden_size"});
  for (const std::string name :
       {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    ExpectRefusedFile(name, Replace("{", "["), {name, "not valid JSON at byte"});
    ExpectRefusedFile(name, [](const std::string&) { return "[1]"; },
                      {name, "expected a JSON object, found array"});
  }
}

TEST_F(BadInput, MissingFilesAreNamed) {
  ExpectOneLine(RunModel(directory_.Path("absent.gguf")), {"absent.gguf", "not_found"});
  ExpectOneLine(RunModel(directory_.path()), {"/config.json", "not_found"});
  ExpectOneLine(RunProgram({"run", "-m", directory_.Write("m.gguf", gguf_), "-f",
                            directory_.Path("absent.txt")}),
                {"absent.txt", "not_found"});
}

TEST_F(BadInput, FlagsOutOfRangeAreNamed) {
  const std::string path = directory_.Write("m.gguf", gguf_);
  const struct {
    std::vector<std::string> flags;
    std::vector<std::string> parts;
  } cases[] = {
      {{"-p", std::string(2000, 'a')}, {"prompt has 2000 tokens", "holds 512"}},
      {{"-c", "1"}, {"prompt has 2 tokens", "holds 1"}},
      {{"-p", ""}, {"prompt: expected at least one token"}},
      {{"-ctk", "nonsense"}, {"-ctk: expected one of f32, f16", "found 'nonsense'"}},
      {{"--mem", "100K"}, {"--mem", "weights", "100.00 KiB"}},
      {{"--mem", "lots"}, {"--mem", "found 'lots'"}},
      {{"--temp", "nan"}, {"--temp", "found 'nan'"}},
      {{"--temp", "inf"}, {"temperature", "found inf"}},
      {{"--top-p", "nan"}, {"--top-p", "found 'nan'"}},
      {{"-n", "-2"}, {"-n", "found '-2'"}},
      {{"-ub", "99999999"}, {"ubatch-size", "99999999"}},
      {{"-t", "5000"}, {"-t", "found '5000'"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.flags.front());
    ExpectOneLine(RunModel(path, c.flags), c.parts);
  }
  const auto logits = [&](const std::string& ids, const std::string& out) {
    return RunProgram({"logits", "-m", path, "--tokens", ids, "-o", out});
  };
  ExpectOneLine(logits("1 512", directory_.Path("l")), {"expected ids from 0 to 511, found 512"});
  ExpectOneLine(logits("1 -1", directory_.Path("l")), {"found -1 at index 1"});
  ExpectOneLine(logits("1", directory_.Path("no/folder")), {"no/folder"});
  ExpectOneLine(logits("1", "/dev/full"), {"/dev/full", "No space left"});
}

TEST_F(BadInput, RecipesThatCannotWorkAreRefusedWithTheReason) {
  const std::string path = directory_.Write("m.gguf", gguf_);
  const std::string heads = directory_.Path("heads.json");
  const HeadTable other = {
      "fedcba9876543210",   2, 4, 2, std::vector<float>(8), std::vector<float>(8),
      std::vector<float>(8)};
  ASSERT_TRUE(WriteHeadTable(other, heads).ok());
  const struct {
    std::string recipe;
    std::vector<std::string> parts;
  } cases[] = {
      {"score=knrm budget=64", {"no part 'knrm'", "did you mean knorm?"}},
      {"snapvk:64", {"nothing is called 'snapvk'", "did you mean snapkv?"}},
      {"snapkv(64,window=5000)", {"window: expected", "from 1 to 1024", "found '5000'"}},
      {"snapkv(64,widow=5)", {"no parameter for 'widow'", "budget, window, pool"}},
      {"kvzip(part=10)", {"part: expected", "from 64 to 65536", "found '10'"}},
      {"h2o+kivi:2", {"k=kivi and schedule=steps", "cannot give up single ones"}},
      {"streaming+d2o", {"score is set twice, by 'streaming' and by 'd2o'"}},
      {"score=keydiff budget=64 keep=critical",
       {"keep=critical and score=keydiff", "shares of attention"}},
      {"snapkv:16", {"budget=uniform(tokens=16) is below the 32 tokens that always stay"}},
      {"tiered(25%,codec=nope)", {"no KV codec is called \"nope\"", "kivi"}},
      {"duo(file=" + directory_.Path("absent.json") + ")", {"absent.json", "cannot be opened"}},
      {"duo(file=" + heads + ")", {"fedcba9876543210"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.recipe);
    const ProgramResult result = RunModel(path, {"--kv", c.recipe});
    ExpectOneLine(result, c.parts);
    EXPECT_THAT(result.out, IsEmpty());
  }
}

TEST_F(BadInput, NoTokensAndBrokenUtf8AreNoErrors) {
  const std::string path = directory_.Write("m.gguf", gguf_);
  const ProgramResult none = RunModel(path, {"-n", "0"});
  EXPECT_EQ(none.exit_code, 0) << none.err;
  EXPECT_EQ(none.out, "\n");
  EXPECT_EQ(RunModel(path, {"-p", "\xFF\xFE\xC3(a"}).exit_code, 0);
}

TEST_F(BadInput, ATemplateThatRaisesSaysWhatItSaid) {
  const std::string path = directory_.Write("m.gguf", gguf_);
  const std::string raises =
      directory_.Write("t.jinja", "{{ raise_exception('roles must alternate') }}");
  ExpectOneLine(RunProgram({"chat", "-m", path, "--chat-template-file", raises}, "hello\n"),
                {"line 1", "roles must alternate"});
}

TEST_F(BadInput, AFullDiskIsNoticedOnStdout) {
  if (!std::filesystem::is_character_file("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const std::string path = directory_.Write("m.gguf", gguf_);
  const std::string context = directory_.Write("c.json", "{}");
  const std::string text = directory_.Write("t.jinja", "text");
  const std::vector<std::vector<std::string>> commands = {
      {"run", "-m", path, "-p", "ab", "-n", "300"},
      {"chat", "-m", path, "-n", "5"},
      {"logits", "-m", path, "--tokens", "1 2 3", "-o", "-"},
      {"tokenize", "-m", path},
      {"tokenize", "-m", path, "--pieces"},
      {"inspect", "-m", path},
      {"template", text, context},
      {"run", "--help"},
      {"help"},
      {"version"},
  };
  for (const auto& command : commands) {
    SCOPED_TRACE(command.front());
    std::string input;
    for (int i = 0; i < 2000; ++i) input += "some words ";
    const bool chat = command.front() == "chat";
    ExpectOneLine(
        RunProgram(command, chat ? "hello\nagain\n" : input, {.stdout_path = "/dev/full"}),
        {"No space left on device"});
  }
}

TEST_F(BadInput, WritingAModelToADeviceLeavesTheDevice) {
  if (!std::filesystem::is_character_file("/dev/full")) GTEST_SKIP() << "no /dev/full";
  // A link, so that a program that replaces its output breaks the link and not the machine.
  const std::string link = directory_.Path("full");
  std::filesystem::create_symlink("/dev/full", link);
  ExpectOneLine(RunProgram({"synth", "--shape", "tiny-llama", "-o", link}),
                {link, "No space left"});
  EXPECT_TRUE(std::filesystem::is_symlink(link));
}

}  // namespace
}  // namespace kvasir::cli
