#include "kvasir/model/synth.h"

#include <fmt/core.h>

#include "cli/args.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "kvasir/core/byte_ledger.h"

namespace kvasir::cli {
namespace {

struct Args {
  std::string shape;
  std::string type = "q4_0";
  std::string output;
  int32_t n_vocab = 0;
  int32_t n_thread = 0;
  int64_t seed = 1;
};

std::vector<Option> Options(Args& args) {
  return {
      {.names = {"--shape"},
       .metavar = "NAME",
       .help = "whose sizes to take",
       .target = &args.shape,
       .choices = SynthShapeNames()},
      {.names = {"--type"},
       .metavar = "TYPE",
       .help = "of matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k; norms "
               "are f32",
       .target = &args.type},
      {.names = {"-o", "--output"},
       .metavar = "FILE",
       .help = "the GGUF file to write",
       .target = &args.output},
      {.names = {"--vocab"},
       .metavar = "N",
       .help = "tokens of the vocabulary; 0 takes the shape's own",
       .target = &args.n_vocab,
       .min = 0,
       .max = 1 << 21},
      {.names = {"-s", "--seed"},
       .metavar = "N",
       .help = "the same seed gives the same bytes",
       .target = &args.seed},
      {.names = {"-t", "--threads"},
       .metavar = "N",
       .help = "threads; 0 takes the CPUs this process may use",
       .target = &args.n_thread,
       .min = 0,
       .max = 1024},
  };
}

Status Run(std::span<const std::string> words) {
  Args args;
  ArgTable table("synth", "writes a model of random weights, for speed measurements and tests");
  table.Add("Model", Options(args));
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  if (args.shape.empty()) return Status::InvalidArgument("synth: --shape is missing");
  if (args.output.empty()) return Status::InvalidArgument("synth: -o is missing");
  const TensorTypeInfo* type = FindTensorType(args.type);
  if (type == nullptr) {
    return Status::InvalidArgument(fmt::format("synth: --type: unknown type '{}'", args.type));
  }

  KVASIR_ASSIGN_OR_RETURN(const SynthShape shape, FindSynthShape(args.shape));
  const SynthOptions options = {.type = type->type,
                                .n_vocab = args.n_vocab,
                                .seed = static_cast<uint64_t>(args.seed),
                                .n_thread = args.n_thread};
  std::vector<std::string> notes;
  KVASIR_ASSIGN_OR_RETURN(const GgufWriter writer, MakeSynthModel(shape, options, &notes));
  for (const std::string& note : notes) fmt::print(stderr, "synth: {}\n", note);
  ProgressBar bar("writing", ProgressUnit::kBytes);
  KVASIR_RETURN_IF_ERROR(writer.WriteFile(
      args.output, [&](uint64_t done, uint64_t total) { bar.Update(done, total); }));
  fmt::print("{}: {} of weights\n", args.output,
             FormatBytes(static_cast<int64_t>(writer.tensor_bytes())));
  return Status::Ok();
}

}  // namespace

const Command& synth_command() {
  static constexpr Command command = {"synth", "write a model of random weights in a named shape",
                                      Run};
  return command;
}

}  // namespace kvasir::cli
