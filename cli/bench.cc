#include "kvasir/measure/bench.h"

#include <fmt/core.h>

#include <cstdio>

#include "cli/args.h"
#include "cli/command.h"
#include "cli/common_args.h"
#include "cli/stage_bar.h"
#include "kvasir/codecs/registry.h"
#include "kvasir/core/isa.h"
#include "kvasir/measure/bench_report.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary = "measure the speed of prefill and decode";

struct Args {
  std::vector<std::string> models;
  BenchGrid grid;
  bool hadamard_k = false, hadamard_v = false;
  int32_t repetitions = 5;
  std::string fill = "prefill";
  std::string output = "md";
};

std::vector<Option> GridOptions(BenchGrid& grid) {
  constexpr double kMaxTokens = 1 << 30;
  return {{.names = {"-p", "--n-prompt"},
           .metavar = "N,...",
           .help = "prompt tokens; 0 = no such test",
           .target = &grid.n_prompt,
           .min = 0,
           .max = kMaxTokens},
          {.names = {"-n", "--n-gen"},
           .metavar = "N,...",
           .help = "generated tokens; 0 = no such test",
           .target = &grid.n_gen,
           .min = 0,
           .max = kMaxTokens},
          {.names = {"-d", "--n-depth"},
           .metavar = "N,...",
           .help = "tokens that the cache holds before",
           .target = &grid.depth,
           .min = 0,
           .max = kMaxTokens},
          {.names = {"--kv"},
           .metavar = "RECIPE ...",
           .help = "how the KV cache is kept, stored and read; given again, one recipe more",
           .target = &grid.kv},
          {.names = {"-ctk", "--cache-type-k"},
           .metavar = "TYPE,...",
           .help = "number formats of cached keys",
           .target = &grid.type_k,
           .choices = CacheTypeNames(),
           .comma_list = true},
          {.names = {"-ctv", "--cache-type-v"},
           .metavar = "TYPE,...",
           .help = "number formats of cached values",
           .target = &grid.type_v,
           .choices = CacheTypeNames(),
           .comma_list = true},
          {.names = {"-t", "--threads"},
           .metavar = "N,...",
           .help = "threads; 0 takes the CPUs this process may use",
           .target = &grid.n_thread,
           .min = 0,
           .max = 1024},
          {.names = {"-ub", "--ubatch-size"},
           .metavar = "N,...",
           .help = "tokens computed together during prefill",
           .target = &grid.n_ubatch,
           .min = 1,
           .max = 65536}};
}

ArgTable Table(Args& args) {
  ArgTable table("bench", std::string(kSummary) + "; lists of values multiply");
  table.Add("bench", {{.names = {"-m", "--model"},
                       .metavar = "PATH,...",
                       .help = "GGUF files or Hugging Face folders",
                       .target = &args.models,
                       .comma_list = true},
                      {.names = {"-r", "--repetitions"},
                       .metavar = "N",
                       .help = "timed runs of each test, after one that is not",
                       .target = &args.repetitions,
                       .min = 1,
                       .max = 10000},
                      {.names = {"-o", "--output"},
                       .metavar = "FORMAT",
                       .help = "what to print",
                       .target = &args.output,
                       .choices = {"md", "csv", "json"}},
                      {.names = {"--fill"},
                       .metavar = "HOW",
                       .help = "how a depth is reached: by computing its tokens, or by writing "
                               "random keys and values, which takes seconds and changes no speed",
                       .target = &args.fill,
                       .choices = {"prefill", "random"}}});
  table.Add("tests", GridOptions(args.grid));
  table.Add("cache", HadamardOptions(&args.hadamard_k, &args.hadamard_v));
  table.Add("accepted from llama.cpp's command lines", CompatibilityOptions());
  return table;
}

// Makes types of -ctk or -ctv rotated ones.
Status Rotate(std::string_view flag, std::vector<std::string>& types) {
  for (std::string& type : types) {
    if (Status status = MakeCodec(type, {{"", "had"}}).status(); !status.ok()) {
      return std::move(status).WithContext(flag);
    }
    type += "(had)";
  }
  return Status::Ok();
}

ReportFormat ParseFormat(std::string_view name) {
  if (name == "csv") return ReportFormat::kCsv;
  return name == "json" ? ReportFormat::kJson : ReportFormat::kMarkdown;
}

void Print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

Status Run(std::span<const std::string> words) {
  Args args;
  ArgTable table = Table(args);
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  KVASIR_RETURN_IF_ERROR(CheckIsaSetting());
  if (args.models.empty()) return Status::InvalidArgument("-m: expected the path of a model");
  if (args.hadamard_k) KVASIR_RETURN_IF_ERROR(Rotate("-khad", args.grid.type_k));
  if (args.hadamard_v) KVASIR_RETURN_IF_ERROR(Rotate("-vhad", args.grid.type_v));
  const std::vector<BenchCase> cases = ExpandGrid(args.grid);
  if (cases.empty()) return Status::InvalidArgument("-p, -n: expected a count above 0 in either");

  BenchReport report(ParseFormat(args.output), DescribeMachine());
  StageBar bar;
  const BenchOptions options = {
      .repetitions = args.repetitions,
      .fill = args.fill == "random" ? BenchFill::kRandom : BenchFill::kPrefill,
      .progress = [&](std::string_view stage, int64_t done, int64_t total) {
        bar.Update(stage, done, total);
      }};
  Print(report.Begin());
  for (const std::string& path : args.models) {
    KVASIR_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model, LoadWithBar(path));
    const BenchedModel described = DescribeBenchedModel(*model);
    KVASIR_RETURN_IF_ERROR(RunBench(model, cases, options, [&](const BenchResult& result) {
      bar.Clear();
      Print(report.Row(described, result));
      return Status::Ok();
    }));
  }
  Print(report.End());
  return Status::Ok();
}

}  // namespace

const Command& bench_command() {
  static constexpr Command command = {"bench", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
