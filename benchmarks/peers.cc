// Speed beside other engines' bench programs, on the same model, in one sitting.
//
//   peers --kvasir build/kvasir --llama-bench PATH --ik-llama-bench PATH -m MODEL,... [-d 0,4096]
//         [--kv exact --kv quest:64] [--peer-kv f16,q8_0] [-o SAMPLES.json] [--plot GROWTH.svg]
//         [--plot-memory MEMORY.svg]
//
// Programs take turns (A B C, A B C, ...), so that what else the machine does meets all of them.
// Between runs memory is read plainly, with as many threads: cores that share a link to memory read
// little faster together than one of them alone, and where a virtual machine's processors stand may
// change from run to run. The ratios printed are of runs before and behind which plain reads were
// alike; those by round are in the JSON. Each peer runs at its best: flash attention on, and
// ik_llama.cpp with weights repacked at load. ik_llama.cpp has no prompts at a depth; its
// generation at a depth is its -gp.
#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/args.h"
#include "cli/input.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/measure/bandwidth.h"
#include "kvasir/measure/bench.h"
#include "kvasir/measure/machine.h"
#include "kvasir/measure/statistics.h"
#include "kvasir/measure/svg_plot.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

struct Args {
  std::string kvasir, llama, ik;
  std::vector<std::string> models;
  int64_t n_prompt = 512, n_gen = 32;
  std::vector<int64_t> depths = {0};
  int64_t n_thread = 0;
  int64_t n_round = 3;
  std::vector<std::string> kv = {"exact"}, peer_kv = {"f16"};
  std::string fill = "random";
  std::string json, plot, plot_memory;
};

std::vector<cli::Option> Options(Args& args) {
  return {
      {.names = {"--kvasir"}, .metavar = "PATH", .help = "this program", .target = &args.kvasir},
      {.names = {"--llama-bench"},
       .metavar = "PATH",
       .help = "llama.cpp's llama-bench",
       .target = &args.llama},
      {.names = {"--ik-llama-bench"},
       .metavar = "PATH",
       .help = "ik_llama.cpp's llama-bench",
       .target = &args.ik},
      {.names = {"-m", "--model"},
       .metavar = "PATH,...",
       .help = "GGUF files",
       .target = &args.models,
       .comma_list = true},
      {.names = {"-p"}, .metavar = "N", .help = "prompt tokens", .target = &args.n_prompt},
      {.names = {"-n"}, .metavar = "N", .help = "generated tokens", .target = &args.n_gen},
      {.names = {"-d"}, .metavar = "N,...", .help = "depths", .target = &args.depths},
      {.names = {"-t"},
       .metavar = "N",
       .help = "threads; 0 takes the CPUs this process may use",
       .target = &args.n_thread},
      {.names = {"--rounds"}, .metavar = "N", .help = "turns", .target = &args.n_round, .min = 1},
      {.names = {"--kv"},
       .metavar = "RECIPE ...",
       .help = "this program's caches; given again, one recipe more",
       .target = &args.kv},
      {.names = {"--peer-kv"},
       .metavar = "TYPE,...",
       .help = "the peers' caches, keys and values alike",
       .target = &args.peer_kv,
       .comma_list = true},
      {.names = {"--fill"},
       .metavar = "HOW",
       .help = "how this program reaches a depth; peers compute it",
       .target = &args.fill,
       .choices = {"prefill", "random"}},
      {.names = {"-o"}, .metavar = "FILE", .help = "where the samples go", .target = &args.json},
      {.names = {"--plot"},
       .metavar = "FILE",
       .help = "SVG of the time of a generated token against the depth, of the first model",
       .target = &args.plot},
      {.names = {"--plot-memory"},
       .metavar = "FILE",
       .help = "SVG of this program's cache, in bytes, against the depth, of the first model",
       .target = &args.plot_memory},
  };
}

struct Program {
  std::string name;
  std::string path;
  std::string kv;

  bool is_ours() const { return name == "kvasir"; }
  std::string label() const { return name + " " + kv; }
};

std::vector<Program> Programs(const Args& args) {
  std::vector<Program> programs;
  const auto add = [&](const char* name, const std::string& path,
                       const std::vector<std::string>& caches) {
    for (const std::string& kv : caches) {
      if (!path.empty()) programs.push_back({name, path, kv});
    }
  };
  add("kvasir", args.kvasir, args.kv);
  add("llama.cpp", args.llama, args.peer_kv);
  add("ik_llama.cpp", args.ik, args.peer_kv);
  return programs;
}

std::vector<std::string> CommandLine(const Program& program, const Args& args,
                                     const std::string& model, int64_t depth) {
  const std::string p = std::to_string(args.n_prompt), n = std::to_string(args.n_gen),
                    d = std::to_string(depth), t = std::to_string(args.n_thread);
  std::vector<std::string> words = {program.path};
  const auto add = [&](std::initializer_list<std::string> more) {
    words.insert(words.end(), more);
  };
  if (program.is_ours()) add({"bench", "--fill", args.fill, "--kv", program.kv});
  add({"-m", model, "-t", t, "-r", "1", "-o", "json"});
  if (!program.is_ours()) add({"-fa", "1", "-ctk", program.kv, "-ctv", program.kv});
  if (program.name == "ik_llama.cpp") {
    add({"-rtr", "1", "-p", depth > 0 ? "0" : p, "-n", depth > 0 ? "0" : n});
    if (depth > 0 && args.n_gen > 0) add({"-gp", d + "," + n});
  } else {
    add({"-p", p, "-n", n, "-d", d});
  }
  return words;
}

// What the program writes to stdout; its stderr is dropped.
Result<std::string> Output(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  int ends[2];
  if (pipe(ends) != 0) return Status::IoError(fmt::format("pipe: {}", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return Status::NotFound(fmt::format("{}: {}", words[0], std::strerror(error)));
  }
  Result<std::string> text = cli::ReadAll(ends[0], words[0]);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) return Status::IoError(fmt::format("{}: ended with {}", words[0], status));
  return text;
}

struct Sample {
  double rate = 0;      // tokens per second
  double kv_bytes = 0;  // of the cache; 0 where the program does not say
};

// By the row's name.
Result<std::map<std::string, Sample>> SamplesOf(const std::string& text, int64_t depth) {
  const Json rows = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!rows.is_array()) return Status::Corruption("expected a JSON array of rows");
  std::map<std::string, Sample> samples;
  for (const Json& row : rows) {
    const int64_t n_gen = row.value("n_gen", int64_t{0});
    const BenchCase c = {.n_prompt = n_gen > 0 ? 0 : row.value("n_prompt", int64_t{0}),
                         .n_gen = n_gen,
                         .depth = depth};
    samples[BenchCaseName(c)] = {row.value("avg_ts", 0.0), row.value("kv_bytes", 0.0)};
  }
  return samples;
}

// Rates per round by the program's label; a peer may lack a test.
using Samples = std::map<std::string, std::vector<double>>;

std::vector<double> Ratios(const std::vector<double>& ours, const std::vector<double>& theirs) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
    ratios.push_back(ours[i] / theirs[i]);
  }
  return ratios;
}

// GB/s of plain reads before and behind each run.
struct Reads {
  Samples before, behind;
};

// Of all pairs of runs before and behind which plain reads were alike.
std::vector<double> LikeRatios(const Samples& samples, const Reads& reads, const std::string& ours,
                               const std::string& theirs) {
  constexpr double kAlike = 1.15;
  const std::vector<double>&a = samples.at(ours), &b = samples.at(theirs);
  std::vector<double> ratios;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < b.size(); ++j) {
      const auto [low, high] =
          std::minmax({reads.before.at(ours)[i], reads.behind.at(ours)[i],
                       reads.before.at(theirs)[j], reads.behind.at(theirs)[j]});
      if (high < kAlike * low) ratios.push_back(a[i] / b[j]);
    }
  }
  return ratios;
}

// What each of our caches comes to beside each peer.
Json Describe(const std::vector<Program>& programs, const std::string& model,
              const std::string& test, int64_t depth, const Samples& samples, const Reads& reads,
              const std::map<std::string, double>& kv_bytes) {
  Json row = {{"model", std::filesystem::path(model).filename().string()},
              {"test", test},
              {"depth", depth},
              {"samples_ts", samples},
              {"reads_before_gbps", reads.before},
              {"reads_gbps", reads.behind},
              {"kv_bytes", kv_bytes}};
  for (const Program& ours : programs) {
    for (const Program& peer : programs) {
      const auto a = samples.find(ours.label()), b = samples.find(peer.label());
      if (!ours.is_ours() || peer.is_ours() || a == samples.end() || b == samples.end()) continue;
      const Summary ratio = Summarize(Ratios(a->second, b->second));
      row["ratios"][ours.label()][peer.label()] = {
          {"median", ratio.median},
          {"min", ratio.min},
          {"max", ratio.max},
          {"best_to_best", Summarize(a->second).max / Summarize(b->second).max},
          {"beside_like_reads", LikeRatios(samples, reads, ours.label(), peer.label())}};
    }
  }
  return row;
}

std::string ShowSummary(const Summary& s) {
  return fmt::format("{:.2f} ({:.2f} to {:.2f})", s.median, s.min, s.max);
}

void PrintHeader(const std::vector<Program>& programs) {
  std::string names = "| model | test | program | t/s | plain reads, GB/s |",
              rule = "| --- | --- | --- | --- | --- |";
  for (const Program& peer : programs) {
    if (peer.is_ours()) continue;
    names += fmt::format(" to {} |", peer.label());
    rule += " --- |";
  }
  fmt::print("{}\n{}\n", names, rule);
}

void PrintRow(const std::vector<Program>& programs, const Json& row) {
  const auto samples = row["samples_ts"].get<Samples>();
  const auto reads = row["reads_gbps"].get<Samples>();
  for (const Program& program : programs) {
    const auto at = samples.find(program.label());
    if (at == samples.end()) continue;
    std::string line = fmt::format("| {} | {} | {} | {} | {} |", row["model"].get<std::string>(),
                                   row["test"].get<std::string>(), program.label(),
                                   ShowSummary(Summarize(at->second)),
                                   ShowSummary(Summarize(reads.at(program.label()))));
    for (const Program& peer : programs) {
      if (peer.is_ours()) continue;
      const auto theirs = samples.find(peer.label());
      std::vector<double> ratios;
      if (program.is_ours() && theirs != samples.end()) {
        ratios = row["ratios"][program.label()][peer.label()]["beside_like_reads"]
                     .get<std::vector<double>>();
      }
      line += ratios.empty() ? " |" : fmt::format(" {} |", ShowSummary(Summarize(ratios)));
    }
    fmt::print("{}\n", line);
  }
  std::fflush(stdout);
}

// Something of generation by depth, a line a program.
//   value  of a row and a program's label; nothing where it is not known
std::string GrowthPlot(
    const std::vector<Program>& programs, const Json& rows, Plot plot,
    const std::function<std::optional<double>(const Json& row, const std::string& label)>& value) {
  for (const Program& program : programs) {
    PlotSeries series = {.name = program.label(), .mark = Mark::kLineAndPoints};
    for (const Json& row : rows) {
      if (row["model"] != rows.front()["model"] ||
          !row["test"].get<std::string>().starts_with("tg")) {
        continue;
      }
      const std::optional<double> y = value(row, program.label());
      if (!y) continue;
      series.x.push_back(row["depth"].get<double>());
      series.y.push_back(*y);
    }
    if (!series.x.empty()) plot.series.push_back(std::move(series));
  }
  return PlotSvg(plot);
}

std::string TimePlot(const std::vector<Program>& programs, const Json& rows) {
  const Plot plot = {.title = "Time of a generated token",
                     .x = {.label = "tokens held", .from_zero = true},
                     .y = {.label = "ms", .from_zero = true}};
  return GrowthPlot(programs, rows, plot, [](const Json& row, const std::string& label) {
    const auto samples = row["samples_ts"].get<Samples>();
    const auto at = samples.find(label);
    return at == samples.end() ? std::nullopt : std::optional(1e3 / Summarize(at->second).median);
  });
}

std::string MemoryPlot(const std::vector<Program>& programs, const Json& rows) {
  const Plot plot = {.title = "Keys, values and summaries",
                     .x = {.label = "tokens held", .from_zero = true},
                     .y = {.label = "MiB", .from_zero = true}};
  return GrowthPlot(programs, rows, plot, [](const Json& row, const std::string& label) {
    const double bytes = row["kv_bytes"].value(label, 0.0);
    return bytes > 0 ? std::optional(bytes / (1 << 20)) : std::nullopt;
  });
}

Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << '\n';
  if (!file.flush()) return Status::IoError(fmt::format("{}: cannot write", path));
  return Status::Ok();
}

Status Compare(const Args& args, const std::vector<Program>& programs, const std::string& model,
               int64_t depth, ReadMeter& meter, Json& report) {
  ThreadTeam team(static_cast<int>(args.n_thread));
  std::map<std::string, Samples> tests;
  Reads reads;
  std::map<std::string, std::map<std::string, double>> kv_bytes;  // by test and label
  double last_read = meter.MedianRate(team) / 1e9;
  for (int64_t round = 1; round <= args.n_round; ++round) {
    for (const Program& program : programs) {
      fmt::print(stderr, "{}, depth {}, round {} of {}: {}\n", model, depth, round, args.n_round,
                 program.label());
      const std::vector<std::string> words = CommandLine(program, args, model, depth);
      if (program.name == "ik_llama.cpp" && depth > 0 && args.n_gen == 0) continue;
      reads.before[program.label()].push_back(last_read);
      KVASIR_ASSIGN_OR_RETURN(const std::string text, Output(words));
      KVASIR_ASSIGN_OR_RETURN(const auto samples, SamplesOf(text, depth));
      last_read = meter.MedianRate(team) / 1e9;
      reads.behind[program.label()].push_back(last_read);
      for (const auto& [test, sample] : samples) {
        tests[test][program.label()].push_back(sample.rate);
        if (sample.kv_bytes > 0) kv_bytes[test][program.label()] = sample.kv_bytes;
      }
    }
  }
  for (const auto& [test, samples] : tests) {
    report["rows"].push_back(
        Describe(programs, model, test, depth, samples, reads, kv_bytes[test]));
    PrintRow(programs, report["rows"].back());
  }
  return Status::Ok();
}

Status Run(std::span<const std::string> words) {
  Args args;
  cli::ArgTable table("peers", "speed beside other engines, in alternating runs");
  table.Add("peers", Options(args));
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, cli::ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  if (args.models.empty()) return Status::InvalidArgument("-m: expected the path of a model");
  if (args.n_thread == 0) args.n_thread = ThreadTeam::AvailableCpus();
  const std::vector<Program> programs = Programs(args);
  const Machine machine = DescribeMachine();
  Json report = {{"cpu", machine.cpu}, {"n_thread", args.n_thread}, {"isa", machine.isa},
                 {"fill", args.fill},  {"rounds", args.n_round},    {"rows", Json::array()}};
  fmt::print(
      "{}, {} threads; median (min to max) of {} alternating rounds, ratios of all pairs of "
      "runs before and behind which plain reads were alike\n\n",
      machine.cpu, args.n_thread, args.n_round);
  PrintHeader(programs);
  KVASIR_ASSIGN_OR_RETURN(const std::unique_ptr<ReadMeter> meter, ReadMeter::Create());
  for (const std::string& model : args.models) {
    for (const int64_t depth : args.depths) {
      KVASIR_RETURN_IF_ERROR(Compare(args, programs, model, depth, *meter, report));
    }
  }
  if (!args.json.empty()) KVASIR_RETURN_IF_ERROR(WriteText(args.json, report.dump(1)));
  if (!args.plot.empty()) {
    KVASIR_RETURN_IF_ERROR(WriteText(args.plot, TimePlot(programs, report["rows"])));
  }
  if (args.plot_memory.empty()) return Status::Ok();
  return WriteText(args.plot_memory, MemoryPlot(programs, report["rows"]));
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const kvasir::Status status = kvasir::Run(words);
  if (!status.ok()) fmt::print(stderr, "peers: {}\n", status.ToString());
  return status.ok() ? 0 : 1;
}
