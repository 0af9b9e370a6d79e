#include "kvasir/measure/bench_report.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "kvasir/core/byte_ledger.h"
#include "kvasir/measure/statistics.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

std::string_view DominantType(const Model& model) {
  std::map<TensorType, double> bytes;
  for (const LayerWeights& w : model.weights.layers) {
    for (const Tensor* t : {&w.wq, &w.wk, &w.wv, &w.wo, &w.w_gate, &w.w_up, &w.w_down}) {
      bytes[t->type] += static_cast<double>(t->rows) * static_cast<double>(t->row_bytes);
    }
  }
  TensorType best = TensorType::kF32;
  for (const auto& [type, held] : bytes) {
    if (held > bytes[best]) best = type;
  }
  return InfoOf(best).name;
}

std::string ShowCount(uint64_t n) {
  const double millions = static_cast<double>(n) * 1e-6;
  return millions >= 1000 ? fmt::format("{:.2f} B", millions * 1e-3)
                          : fmt::format("{:.2f} M", millions);
}

Json Samples(const std::vector<double>& values, double scale) {
  Json samples = Json::array();
  for (const double v : values) samples.push_back(v * scale);
  return samples;
}

// Every field of a row; `arrays` adds the samples.
Json Record(const Machine& machine, const BenchedModel& model, const BenchResult& r, bool arrays) {
  const BenchCase& c = r.bench_case;
  const Summary rate = Summarize(r.TokenRates()), time = Summarize(r.seconds);
  Json row = {{"build_commit", machine.commit},
              {"build_compiler", machine.compiler},
              {"build_flags", machine.flags},
              {"assertions", machine.assertions},
              {"cpu_info", machine.cpu},
              {"n_cpu", machine.n_cpu},
              {"isa", machine.isa},
              {"model_filename", model.path},
              {"model_type", model.label},
              {"model_size", model.bytes},
              {"model_n_params", model.n_parameters},
              {"n_ubatch", c.n_ubatch},
              {"n_threads", c.n_thread},
              {"kv", c.kv},
              {"type_k", c.type_k},
              {"type_v", c.type_v},
              {"n_prompt", c.n_prompt},
              {"n_gen", c.n_gen},
              {"n_depth", c.depth},
              {"fill", BenchFillName(r.fill)},
              {"test", BenchCaseName(c)},
              {"avg_ns", time.mean * 1e9},
              {"stddev_ns", time.stddev * 1e9},
              {"avg_ts", rate.mean},
              {"stddev_ts", rate.stddev},
              {"median_ts", rate.median},
              {"kv_bytes", r.kv_bytes},
              {"moved_gb_s", r.MovedRate() * 1e-9},
              {"read_gb_s", r.read_rate * 1e-9},
              {"read_share", r.MovedRate() / r.read_rate},
              {"prefill_share", r.prefill_share},
              {"step_share", r.step_share}};
  if (arrays) {
    row["samples_ns"] = Samples(r.seconds, 1e9);
    row["samples_ts"] = Samples(r.TokenRates(), 1);
  }
  return row;
}

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

// A header line, or the values.
std::string CsvLine(const Json& record, bool header) {
  std::string line;
  for (const auto& [name, value] : record.items()) {
    if (!line.empty()) line += ',';
    if (header) {
      line += name;
    } else {
      line += value.is_string() ? Quoted(value.get<std::string>()) : value.dump();
    }
  }
  return line + '\n';
}

std::string MarkdownLine(std::string_view model, std::string_view size, std::string_view params,
                         std::string_view threads, std::string_view ubatch, std::string_view kv,
                         std::string_view type_k, std::string_view type_v, std::string_view test,
                         std::string_view rate, std::string_view moved, std::string_view share) {
  return fmt::format(
      "| {:<22} | {:>10} | {:>9} | {:>7} | {:>5} | {:>10} | {:>6} | {:>6} | {:>15} | {:>18} "
      "| {:>6} | {:>7} |\n",
      model, size, params, threads, ubatch, kv, type_k, type_v, test, rate, moved, share);
}

std::string MarkdownHeader(const Machine& machine) {
  std::string text =
      fmt::format("cpu: {}, {} in use, {}\nbuild: {}, {}, {}\n", machine.cpu, machine.n_cpu,
                  machine.isa, machine.commit, machine.compiler, machine.flags);
  if (machine.assertions) text += "warning: assertions are on\n";
  text += '\n';
  text += MarkdownLine("model", "size", "params", "threads", "ub", "kv", "type_k", "type_v", "test",
                       "t/s", "GB/s", "of read");
  text += fmt::format(
      "| {:-<22} | {:->9}: | {:->8}: | {:->6}: | {:->4}: | {:->9}: | {:->5}: | {:->5}: | "
      "{:->14}: | {:->17}: | {:->5}: | {:->6}: |\n",
      "", "", "", "", "", "", "", "", "", "", "", "");
  return text;
}

std::string MarkdownRow(const BenchedModel& model, const BenchResult& r) {
  const BenchCase& c = r.bench_case;
  const Summary rate = Summarize(r.TokenRates());
  // A cache that holds made-up tokens is marked, since speed is all that it is good for.
  std::string name = BenchCaseName(c);
  if (c.depth > 0 && r.fill == BenchFill::kRandom) name += '*';
  return MarkdownLine(model.label, FormatBytes(static_cast<int64_t>(model.bytes)),
                      ShowCount(model.n_parameters), std::to_string(c.n_thread),
                      std::to_string(c.n_ubatch), c.kv, c.type_k, c.type_v, name,
                      fmt::format("{:.2f} ± {:.2f}", rate.mean, rate.stddev),
                      fmt::format("{:.2f}", r.MovedRate() * 1e-9),
                      fmt::format("{:.0f} %", 100 * r.MovedRate() / r.read_rate));
}

}  // namespace

BenchedModel DescribeBenchedModel(const Model& model) {
  std::string count = ShowCount(model.n_parameters);
  std::erase(count, ' ');
  return {model.path, fmt::format("{} {} {}", model.spec.architecture, count, DominantType(model)),
          model.weight_bytes, model.n_parameters};
}

std::string BenchReport::Begin() const {
  switch (format_) {
    case ReportFormat::kMarkdown: return MarkdownHeader(machine_);
    case ReportFormat::kCsv: return CsvLine(Record(machine_, {}, {}, /*arrays=*/false), true);
    case ReportFormat::kJson: return "[\n";
  }
  return {};
}

std::string BenchReport::Row(const BenchedModel& model, const BenchResult& result) {
  const bool first = n_row_++ == 0;
  switch (format_) {
    case ReportFormat::kMarkdown: return MarkdownRow(model, result);
    case ReportFormat::kCsv:
      return CsvLine(Record(machine_, model, result, /*arrays=*/false), false);
    case ReportFormat::kJson:
      return fmt::format("{}  {}", first ? "" : ",\n",
                         Record(machine_, model, result, /*arrays=*/true).dump());
  }
  return {};
}

std::string BenchReport::End() const {
  switch (format_) {
    case ReportFormat::kMarkdown:
      return "\nGB/s: matrices, and what is read of the cache once a chunk, at the median time; of "
             "read: its "
             "share of plain reads, which took turns with the runs; "
             "*: depth filled with random keys and values\n";
    case ReportFormat::kCsv: return {};
    case ReportFormat::kJson: return n_row_ == 0 ? "]\n" : "\n]\n";
  }
  return {};
}

}  // namespace kvasir
