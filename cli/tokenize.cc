#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

#include "cli/args.h"
#include "cli/command.h"
#include "cli/input.h"
#include "kvasir/model/open_tokenizer.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary = "turn text on stdin into token ids, or ids into text";

struct TokenizeArgs {
  std::string model;
  bool bos = false;
  bool special = false;
  bool decode = false;
  bool pieces = false;
};

ArgTable Table(TokenizeArgs& args) {
  ArgTable table("tokenize", std::string(kSummary));
  table.Add("Options",
            {{.names = {"-m", "--model"},
              .metavar = "PATH",
              .help = "GGUF file, Hugging Face folder or tokenizer.json",
              .target = &args.model,
              .llama_env = "MODEL"},
             {.names = {"--bos"}, .help = "put BOS first", .target = &args.bos},
             {.names = {"--special"},
              .help = "text that spells a control token is that token; with --decode show them",
              .target = &args.special},
             {.names = {"--pieces"},
              .help = "one line a token: its id and its text as the vocabulary spells it",
              .target = &args.pieces},
             {.names = {"--decode"},
              .help = "read ids, separated by spaces or commas, and write their text",
              .target = &args.decode}});
  return table;
}

void PrintIds(std::span<const TokenId> ids) {
  std::string line;
  for (const TokenId id : ids) {
    if (!line.empty()) line += ' ';
    line += std::to_string(id);
  }
  fmt::print("{}\n", line);
}

void PrintPieces(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  for (const TokenId id : ids) fmt::print("{}\t{}\n", id, tokenizer.text(id));
}

Status Decode(const Tokenizer& tokenizer, const std::string& input, const TokenizeArgs& args) {
  // No text has no ids.
  if (input.find_first_not_of(" \t\r\n") == std::string::npos) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                          ParseTokenIds("stdin", input, tokenizer.n_vocab()));
  KVASIR_ASSIGN_OR_RETURN(const std::string text, tokenizer.Decode(ids, args.special));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return Status::Ok();
}

Status Run(std::span<const std::string> words) {
  TokenizeArgs args;
  ArgTable table = Table(args);
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  if (args.model.empty()) return Status::InvalidArgument("tokenize: -m names no model");
  KVASIR_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(args.model));
  KVASIR_ASSIGN_OR_RETURN(const std::string input, ReadAll(STDIN_FILENO, "stdin"));
  if (args.decode) return Decode(*tokenizer, input, args);
  const auto ids = tokenizer->Encode(input, {.add_bos = args.bos, .parse_special = args.special});
  if (args.pieces) {
    PrintPieces(*tokenizer, ids);
  } else {
    PrintIds(ids);
  }
  return Status::Ok();
}

}  // namespace

const Command& tokenize_command() {
  static constexpr Command command = {"tokenize", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
