#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "cli/command.h"
#include "cli/generate.h"
#include "cli/input.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary = "write the logits of every token of a prompt as raw f32";

struct LogitsArgs {
  ModelArgs model;
  ContextArgs context;
  KvArgs kv;
  std::string tokens;
  std::string output;
};

ArgTable Table(LogitsArgs& args) {
  ArgTable table("logits", std::string(kSummary));
  table.Add("logits", {{.names = {"--tokens"},
                        .metavar = "IDS",
                        .help = "token ids, separated by spaces or commas; BOS is not added",
                        .target = &args.tokens},
                       {.names = {"-o", "--output"},
                        .metavar = "FILE",
                        .help = "file to write: native f32, tokens x vocabulary; '-' is stdout",
                        .target = &args.output}});
  table.Add("model", ModelOptions(args.model));
  table.Add("context", ContextOptions(args.context));
  table.Add("cache", KvOptions(args.kv));
  return table;
}

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

Status WriteError(const std::string& path) {
  return Status::IoError(fmt::format("{}: {}", path, std::strerror(errno)));
}

Result<File> OpenOutput(const std::string& path) {
  if (path == "-") return File(stdout, std::fflush);
  File file(std::fopen(path.c_str(), "wb"), std::fclose);
  if (!file) return WriteError(path);
  return file;
}

Status Run(std::span<const std::string> words) {
  LogitsArgs args;
  ArgTable table = Table(args);
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  if (args.output.empty()) return Status::InvalidArgument("-o: expected a file to write");
  KVASIR_ASSIGN_OR_RETURN(const auto engine, LoadEngine(args.model, args.context, args.kv));
  const int32_t n_vocab = engine->n_vocab();
  KVASIR_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens,
                          ParseTokenIds("--tokens", args.tokens, n_vocab));
  KVASIR_ASSIGN_OR_RETURN(const auto session, engine->NewSession());
  KVASIR_ASSIGN_OR_RETURN(File file, OpenOutput(args.output));
  KVASIR_RETURN_IF_ERROR(
      session->Logits(tokens, [&](int64_t, int64_t n, const float* logits) -> Status {
        const auto count = static_cast<size_t>(n) * static_cast<size_t>(n_vocab);
        const bool written = std::fwrite(logits, sizeof(float), count, file.get()) == count;
        return written ? Status::Ok() : WriteError(args.output);
      }));
  if (std::fflush(file.get()) != 0) return WriteError(args.output);
  fmt::print(stderr, "{}: {} x {} f32\n", args.output, tokens.size(), n_vocab);
  return Status::Ok();
}

}  // namespace

const Command& logits_command() {
  static constexpr Command command = {"logits", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
